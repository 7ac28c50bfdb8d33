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
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

# Before numpy and torch start their threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import avalanche_strategies
from page import write_page
from protocol import ER, NAIVE, TASKS, planned
from rich.progress import Progress
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


@dataclass(frozen=True)
class Todo:
    """One training."""

    task: str
    method: str
    seed: int


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


def measured(todo: Todo, options: argparse.Namespace, data: Path) -> dict:
    """Run one training in its own process and return its line.

    Raises:
        RuntimeError: With the end of what it said, if it failed.
    """
    what = {
        **asdict(todo),
        "threads": options.threads,
        "smoke": options.smoke,
        "data": str(data.resolve()),
    }
    threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "line.json"
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
    return {**asdict(todo), "commit": commit(), "threads": options.threads, **found}


def commit() -> str:
    ended = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.stdout.strip() or "unknown"


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tasks = [*TASKS, SPEED]
    parser.add_argument("--smoke", action="store_true", help="a short run, to see that it works")
    parser.add_argument(
        "--task", action="append", choices=tasks, metavar="NAME", help="; ".join(tasks)
    )
    parser.add_argument("--method", action="append", metavar="NAME", help="these methods alone")
    parser.add_argument("--seeds", type=int, metavar="N", help="at most N seeds of each")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of each training (1)")
    parser.add_argument("--page", action="store_true", help="write results.md again, and no more")
    parser.add_argument("--setup", action="store_true", help="install Avalanche, and no more")
    options = parser.parse_args(arguments)
    known = {*CONTESTANTS, *(name for task in TASKS.values() for name in task.methods)}
    for name in options.method or []:
        if name not in known:
            parser.error(f"no method {name!r}; there are {'; '.join(sorted(known))}")
    return options


def main() -> None:
    options = options_of()
    if options.setup:
        return avalanche_strategies.install()
    data = Path(os.environ.get("MLEXPERT_DATA", "../shared/data"))
    if not data.is_dir():
        raise SystemExit(f"{data} is no folder; set MLEXPERT_DATA to where the real data lies")
    if not avalanche_strategies.is_installed():
        print("Avalanche is not measured: it is not installed; --setup does that.")
    lines = Path(tempfile.mkdtemp()) / "results.jsonl" if options.smoke else HERE / "results.jsonl"
    failed = []
    todos = [] if options.page else todo_list(options, read_lines(lines))
    with Progress() as progress:
        bar = progress.add_task("", total=len(todos))
        for todo in todos:
            progress.update(bar, description=f"{todo.task} {todo.seed}: {todo.method}")
            try:
                row = measured(todo, options, data)
            except RuntimeError as error:
                failed.append(f"{todo}: {error}")
                continue
            with lines.open("a") as file:
                file.write(json.dumps(row) + "\n")
            progress.advance(bar)
    page = lines.with_name("results.md")
    write_page(read_lines(lines), page)
    print(page.read_text() if options.smoke else f"Wrote {page}")
    if failed:
        raise SystemExit("\n".join(["Failed:", *failed]))


if __name__ == "__main__":
    main()
