"""Measure the adversarial-cls family, and its attacks beside those of others, in one run.

    python benchmarks/adversarial/run.py                  # everything; goes on where it stopped
    python benchmarks/adversarial/run.py --task mnist     # a piece of it
    python benchmarks/adversarial/run.py --setup          # install the peers, once, beside ours
    python benchmarks/adversarial/run.py --smoke          # a minute, to see that it works

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
from foreign import ATTACKS, FOREIGN, OWN
from one_by_one import Todo, lines_of, parser_of, read_lines, refuse_unknown, run_all
from page import write_page
from protocol import FAST, TASKS, planned
from speed import ART, FOOLBOX, OURS, SPEEDS, STANDARD

HERE = Path(__file__).parent
EVERY = (*TASKS, FOREIGN, *SPEEDS)
SMOKE = (
    ("mnist", FAST),
    (FOREIGN, "torchattacks, APGD-T"),
    *(("speed-pgd, tiny", name) for name in (OURS, FOOLBOX, ART)),
    ("speed-auto", STANDARD),
)
"""What is run to see that it works: each takes seconds."""


def todo_list(options: argparse.Namespace, lines: list[dict]) -> list[Todo]:
    """Return what was asked for, has no line yet and can be measured here."""
    if options.smoke:
        wanted = [Todo(task, method, 0) for task, method in SMOKE]
    else:
        wanted = []
        for task in options.task or EVERY:
            own = [Todo(task, name, seed) for name, seeds in runs(task).items() for seed in seeds]
            # Rounds of speed: each contestant in turn, so that they meet the same machine.
            wanted += sorted(own, key=lambda one: one.seed) if task in SPEEDS else own
        wanted = [
            one
            for one in wanted
            if one.method in (options.method or [one.method])
            and one.seed < (options.seeds or sys.maxsize)
        ]
    done = {Todo(row["task"], row["method"], row["seed"]) for row in lines}
    return [one for one in wanted if one not in done and is_possible(one.method)]


def runs(task: str) -> dict[str, range]:
    """Return who is measured on a task, and how often."""
    if task in SPEEDS:
        return dict.fromkeys(SPEEDS[task].contestants, range(SPEEDS[task].rounds))
    if task == FOREIGN:
        return dict.fromkeys((OWN, *ATTACKS), range(1))
    return planned(task)


def is_possible(method: str) -> bool:
    return not peers.is_peer(method) or peers.is_installed()


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of(__doc__.splitlines()[0], EVERY)
    parser.add_argument("--setup", action="store_true", help="install the peers, and no more")
    options = parser.parse_args(arguments)
    known = {name for task in EVERY for name in runs(task)}
    known |= {name for task in TASKS.values() for name in task.methods}
    refuse_unknown(parser, options, known)
    return options


def main() -> None:
    options = options_of()
    if options.setup:
        return peers.install()
    if not peers.is_installed():
        print("The peers' attacks are not measured: they are not installed; --setup does that.")
    lines = lines_of(HERE, options)
    todos = todo_list(options, read_lines(lines))
    run_all(todos, HERE / "train_one.py", options, lines, write_page)


if __name__ == "__main__":
    main()
