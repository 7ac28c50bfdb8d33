"""Measure the continual-cls family beside its rivals, in one run.

    python benchmarks/continual/run.py                    # everything; goes on where it stopped
    python benchmarks/continual/run.py --task fast-bar    # a piece of it
    python benchmarks/continual/run.py --setup            # install Avalanche, once, beside ours
    python benchmarks/continual/run.py --smoke            # a minute, to see that it works

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

import avalanche_strategies
from one_by_one import Todo, lines_of, parser_of, read_lines, refuse_unknown, run_all
from page import write_page
from protocol import ER, NAIVE, TASKS, planned
from speed import CONTESTANTS, ROUNDS, SPEED

HERE = Path(__file__).parent
SMOKE = (
    ("fast-bar", ER),
    ("fast-bar", "plain loop, er"),
    ("fast-bar", "Avalanche, Replay"),
    ("split-mnist-task", NAIVE),
    ("permuted-mnist", NAIVE),
    (SPEED, NAIVE),
    (SPEED, "plain loop, naive"),
)
"""What is run to see that it works: each takes seconds."""


def todo_list(options: argparse.Namespace, lines: list[dict]) -> list[Todo]:
    """Return what was asked for, has no line yet and can be measured here."""
    if options.smoke:
        wanted = [Todo(task, method, 0) for task, method in SMOKE]
    else:
        wanted = []
        for task in options.task or [*TASKS, SPEED]:
            # Rounds of speed: each contestant in turn, so that they meet the same machine.
            runs = dict.fromkeys(CONTESTANTS, range(ROUNDS)) if task == SPEED else planned(task)
            own = [Todo(task, name, seed) for name, seeds in runs.items() for seed in seeds]
            wanted += sorted(own, key=lambda one: one.seed) if task == SPEED else own
        wanted = [
            one
            for one in wanted
            if one.method in (options.method or [one.method])
            and one.seed < (options.seeds or sys.maxsize)
        ]
    done = {Todo(row["task"], row["method"], row["seed"]) for row in lines}
    return [one for one in wanted if one not in done and is_possible(one.method)]


def is_possible(method: str) -> bool:
    return not method.startswith("Avalanche") or avalanche_strategies.is_installed()


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of(__doc__.splitlines()[0], [*TASKS, SPEED])
    parser.add_argument("--setup", action="store_true", help="install Avalanche, and no more")
    options = parser.parse_args(arguments)
    known = {*CONTESTANTS, *(name for task in TASKS.values() for name in task.methods)}
    refuse_unknown(parser, options, known)
    return options


def main() -> None:
    options = options_of()
    if options.setup:
        return avalanche_strategies.install()
    if not avalanche_strategies.is_installed():
        print("Avalanche is not measured: it is not installed; --setup does that.")
    lines = lines_of(HERE, options)
    todos = todo_list(options, read_lines(lines))
    run_all(todos, HERE / "train_one.py", options, lines, write_page)


if __name__ == "__main__":
    main()
