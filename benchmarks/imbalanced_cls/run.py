"""Measure the imbalanced-cls family beside its rivals, in one run.

    python benchmarks/imbalanced_cls/run.py                   # everything; goes on where it stopped
    python benchmarks/imbalanced_cls/run.py --task phoneme    # a piece of it
    python benchmarks/imbalanced_cls/run.py --smoke           # a minute, to see that it works

Every (task, method, seed) is trained in a process of its own and is one line of `results.jsonl`, so
a run that was stopped goes on. `results.md` is written from the lines alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

# Before numpy and torch start their threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from contestants import ARGMAX, ON_IMAGES, methods
from page import write_page
from protocol import TASKS, LongTail
from resampling_speed import CASES, ROUNDS
from rich.progress import Progress

HERE = Path(__file__).parent
SMOKE = (
    ("digits-lt", "imbalanced-cls"),
    ("mammography", "imbalanced-cls/logit-adjusted-loss"),
    ("adult", "SMOTE + random forest"),
    ("sms-spam", "TF-IDF + SMOTE + logistic regression"),
    ("speed-mammography", "all"),
)
"""What is run to see that it works: each takes seconds."""


@dataclass(frozen=True)
class Todo:
    """One training, or one round of a comparison of speed."""

    task: str
    method: str
    seed: int


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


def measured(todo: Todo, options: argparse.Namespace, data: Path) -> list[dict]:
    """Run one training in its own process and return its lines.

    Raises:
        RuntimeError: With the end of what it said, if it failed.
    """
    what = {
        "task": todo.task,
        "method": todo.method,
        "seed": todo.seed,
        "threads": options.threads,
        "smoke": options.smoke,
        "data": str(data.resolve()),
    }
    threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "lines.json"
        ended = subprocess.run(
            [sys.executable, str(HERE / "train_one.py"), json.dumps(what), str(output)],
            # What it writes (runs, what it remembers of this machine) is of no use to the next.
            env={**os.environ, **threads, "TMPDIR": folder, "MLEXPERT_HOME": folder},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            raise RuntimeError(ended.stderr[-2000:])
        found = json.loads(output.read_text())
    known = {"task": todo.task, "method": todo.method, "seed": todo.seed}
    return [{**known, "commit": commit(), "threads": options.threads, **line} for line in found]


def commit() -> str:
    ended = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.stdout.strip() or "unknown"


def carry(data: Path, folder: Path) -> None:
    """Write the images of what needs a GPU alone, a third of the files, for a machine elsewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    for task in TASKS.values():
        if task.needs_gpu and isinstance(task.rows, LongTail):
            train, test = task.rows.frames(data)
            train.to_parquet(folder / f"{task.rows.name}_lt_train.parquet", compression="zstd")
            test.to_parquet(folder / f"{task.rows.name}_test.parquet", compression="zstd")


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tasks = [*TASKS, *CASES]
    parser.add_argument("--smoke", action="store_true", help="a short run, to see that it works")
    parser.add_argument(
        "--task",
        action="append",
        choices=[*tasks, "speed"],
        metavar="NAME",
        help=f"of these alone: {'; '.join(tasks)}; speed is the last {len(CASES)}",
    )
    parser.add_argument("--method", action="append", metavar="NAME", help="these methods alone")
    parser.add_argument("--seeds", type=int, metavar="N", help="at most N seeds or folds of each")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of each training (1)")
    parser.add_argument("--page", action="store_true", help="write results.md again, and no more")
    parser.add_argument(
        "--carry", type=Path, metavar="FOLDER", help="write what a GPU reads there, and no more"
    )
    options = parser.parse_args(arguments)
    if options.task and "speed" in options.task:
        options.task = [name for name in options.task if name != "speed"] + list(CASES)
    known = {"all", *ON_IMAGES, *(name for task in TASKS for name in methods(task))}
    for name in options.method or []:
        if name == ARGMAX:
            parser.error(f"{name!r} is measured along with imbalanced-cls")
        if name not in known:
            parser.error(f"no method {name!r}; there are {'; '.join(sorted(known))}")
    return options


def main() -> None:
    options = options_of()
    data = Path(os.environ.get("MLEXPERT_DATA", "../shared/data"))
    if not data.is_dir():
        raise SystemExit(f"{data} is no folder; set MLEXPERT_DATA to where the real data lies")
    if options.carry:
        return carry(data, options.carry)
    lines = Path(tempfile.mkdtemp()) / "results.jsonl" if options.smoke else HERE / "results.jsonl"
    failed = []
    todos = [] if options.page else todo_list(options, read_lines(lines))
    with Progress() as progress:
        bar = progress.add_task("", total=len(todos))
        for todo in todos:
            progress.update(bar, description=f"{todo.task} {todo.seed}: {todo.method}")
            try:
                rows = measured(todo, options, data)
            except RuntimeError as error:
                failed.append(f"{todo}: {error}")
                continue
            with lines.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            progress.advance(bar)
    page = lines.with_name("results.md")
    write_page(read_lines(lines), page)
    print(page.read_text() if options.smoke else f"Wrote {page}")
    if failed:
        raise SystemExit("\n".join(["Failed:", *failed]))


if __name__ == "__main__":
    main()
