"""Measure the classification recipes beside their rivals, in one run.

    python benchmarks/classification/run.py                   # everything; goes on where it stopped
    python benchmarks/classification/run.py --task phoneme    # a piece of it
    python benchmarks/classification/run.py --smoke           # a minute, to see that it works

Every (task, method, seed) is trained in a process of its own and is one line of `results.jsonl`, so
a run that was stopped goes on. `results.md` is written from the lines alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from methods import ON_GPU, methods
from one_by_one import Todo, lines_of, parser_of, read_lines, refuse_unknown, run_all
from speed import CASES
from table import write_page
from tasks import TASKS

HERE = Path(__file__).parent
ROUNDS = 5
"""Of the measurement of speed."""
SMOKE = (
    ("fashion-mnist", "image-cls/fast"),
    ("trec-6", "text-cls"),
    ("trec-6", "TF-IDF + logistic regression"),
    ("phoneme", "tabular-cls"),
    ("phoneme", "XGBoost"),
    ("california-housing", "tabular-reg"),
    ("speed-tables", "all"),
)
"""What is run to see that it works: each takes seconds."""


def todo_list(options: argparse.Namespace, lines: list[dict]) -> list[Todo]:
    """Return what was asked for and has no line yet."""
    if options.smoke:
        return [Todo(task, method, 0) for task, method in SMOKE]
    wanted = []
    for task in options.task or [*TASKS, *CASES]:
        runs = {"all": ROUNDS} if task in CASES else methods(task)
        for method, number in runs.items():
            if options.method and method not in options.method:
                continue
            number = min(number, options.seeds or number)
            wanted += [Todo(task, method, seed) for seed in range(number)]
    done = {Todo(row["task"], row["method"], row["seed"]) for row in lines}
    done |= {Todo(one.task, "all", one.seed) for one in done if one.task in CASES}
    return [one for one in wanted if one not in done]


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of(__doc__.splitlines()[0], [*TASKS, *CASES, "speed"])
    options = parser.parse_args(arguments)
    if options.task and "speed" in options.task:
        options.task = [name for name in options.task if name != "speed"] + list(CASES)
    known = {"all", *ON_GPU, *(name for task in TASKS for name in methods(task))}
    refuse_unknown(parser, options, known)
    return options


def main() -> None:
    options = options_of()
    lines = lines_of(HERE, options)
    todos = todo_list(options, read_lines(lines))
    run_all(todos, HERE / "fit_one.py", options, lines, write_page)


if __name__ == "__main__":
    main()
