"""Measure the recipes of sequences, and what others make of the same tasks, in one run.

    python benchmarks/sequence/run.py                         # everything; goes on where it stopped
    python benchmarks/sequence/run.py --task etth1-96         # a piece of it
    python benchmarks/sequence/run.py --setup                 # install the peers, once, beside ours
    python benchmarks/sequence/run.py --smoke                 # a minute, to see that it works

Every (task, method, seed) is measured in a process of its own and is one line of `results.jsonl`,
so a run that was stopped goes on. `results.md` is written from the lines alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# Before numpy and torch start their threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.append(str(Path(__file__).parents[1]))

import peers
from one_by_one import Todo, lines_of, parser_of, read_lines, refuse_unknown, run_all
from page import write_page
from protocol import (
    CLASSIFIER,
    LOOP,
    MODERN,
    SOLVED,
    SSD,
    TAGGER,
    TASKS,
    TRAINER,
)

HERE = Path(__file__).parent
SMOKE = (
    ("tiny-shakespeare", MODERN),
    ("tiny-shakespeare", TRAINER),
    ("speed-128", LOOP),
    ("ili-24", SOLVED),
    ("fsdd", CLASSIFIER),
    ("wnut-17", TAGGER),
    ("mixers", SSD),
)
"""What is run to see that it works: each takes seconds."""


def todo_list(options: argparse.Namespace, lines: list[dict]) -> list[Todo]:
    """Return what was asked for, has no line yet and can be measured here."""
    if options.smoke:
        wanted = [Todo(task, method, 0) for task, method in SMOKE]
    else:
        wanted = []
        for name in options.task or TASKS:
            task = TASKS[name]
            own = [Todo(name, who, seed) for who, seeds in task.keys().items() for seed in seeds]
            wanted += sorted(own, key=lambda one: one.seed) if task.in_turn else own
        wanted = [
            one
            for one in wanted
            if one.method in (options.method or [one.method])
            and one.seed < (options.seeds or sys.maxsize)
        ]
    done = {Todo(row["task"], row["method"], row["seed"]) for row in lines}
    return [one for one in wanted if one not in done and peers.is_possible(one.method)]


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of(__doc__.splitlines()[0], TASKS)
    parser.add_argument("--setup", action="store_true", help="install the peers, and no more")
    options = parser.parse_args(arguments)
    refuse_unknown(parser, options, {name for task in TASKS.values() for name in task.methods})
    return options


def main() -> None:
    options = options_of()
    if options.setup:
        return peers.install()
    if peers.missing():
        print(f"Not measured, as --setup has not installed them: {', '.join(peers.missing())}.")
    lines = lines_of(HERE, options)
    todos = todo_list(options, read_lines(lines))
    run_all(todos, HERE / "train_one.py", options, lines, write_page)


if __name__ == "__main__":
    main()
