"""Measure the imbalanced-cls family beside its rivals, in one run.

    python benchmarks/imbalanced_cls/run.py                   # everything; goes on where it stopped
    python benchmarks/imbalanced_cls/run.py --task phoneme    # a piece of it
    python benchmarks/imbalanced_cls/run.py --smoke           # a minute, to see that it works

Every (task, method, seed) is trained in a process of its own and is one line of `results.jsonl`, so
a run that was stopped goes on. `results.md` is written from the lines alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# Before numpy and torch start their threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.append(str(Path(__file__).parents[1]))

from contestants import ARGMAX, ON_IMAGES, methods
from one_by_one import Todo, data_folder, lines_of, parser_of, read_lines, refuse_unknown, run_all
from page import write_page
from protocol import TASKS, LongTail
from resampling_speed import CASES, ROUNDS

HERE = Path(__file__).parent
SMOKE = (
    ("digits-lt", "imbalanced-cls"),
    ("mammography", "imbalanced-cls/logit-adjusted-loss"),
    ("adult", "SMOTE + random forest"),
    ("sms-spam", "TF-IDF + SMOTE + logistic regression"),
    ("speed-mammography", "all"),
)
"""What is run to see that it works: each takes seconds."""


def todo_list(options: argparse.Namespace, lines: list[dict]) -> list[Todo]:
    """Return what was asked for and has no line yet."""
    if options.smoke:
        return [Todo(task, method, 0) for task, method in SMOKE]
    wanted = []
    for task in options.task or [*TASKS, *CASES]:
        runs = {"all": tuple(range(ROUNDS))} if task in CASES else methods(task)
        for method, seeds in runs.items():
            if options.method and method not in options.method:
                continue
            wanted += [Todo(task, method, seed) for seed in seeds[: options.seeds]]
    done = {Todo(row["task"], row["method"], row["seed"]) for row in lines}
    done |= {Todo(one.task, "all", one.seed) for one in done if one.task in CASES}
    return [one for one in wanted if one not in done]


def carry(data: Path, folder: Path) -> None:
    """Write the images of what needs a GPU alone, a third of the files, for a machine elsewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    for task in TASKS.values():
        if task.needs_gpu and isinstance(task.rows, LongTail):
            train, test = task.rows.frames(data)
            train.to_parquet(folder / f"{task.rows.name}_lt_train.parquet", compression="zstd")
            test.to_parquet(folder / f"{task.rows.name}_test.parquet", compression="zstd")


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of(__doc__.splitlines()[0], [*TASKS, *CASES, "speed"])
    parser.add_argument(
        "--carry", type=Path, metavar="FOLDER", help="write what a GPU reads there, and no more"
    )
    options = parser.parse_args(arguments)
    if options.task and "speed" in options.task:
        options.task = [name for name in options.task if name != "speed"] + list(CASES)
    known = {"all", *ON_IMAGES, *(name for task in TASKS for name in methods(task))}
    if ARGMAX in (options.method or []):
        parser.error(f"{ARGMAX!r} is measured along with imbalanced-cls")
    refuse_unknown(parser, options, known)
    return options


def main() -> None:
    options = options_of()
    if options.carry:
        return carry(data_folder(), options.carry)
    lines = lines_of(HERE, options)
    todos = todo_list(options, read_lines(lines))
    run_all(todos, HERE / "train_one.py", options, lines, write_page)


if __name__ == "__main__":
    main()
