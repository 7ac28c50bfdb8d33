"""What tests of the benchmarks share: modules of one folder, its committed lines, and made ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pandas as pd

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
Load = Callable[[str], ModuleType]


@contextmanager
def modules_of(folder: Path) -> Iterator[Load]:
    """Import modules of a benchmark by name; others have modules of the same names."""
    before = list(sys.path)
    shared = (BENCHMARKS, BENCHMARKS / "classification")
    names = [path.stem for place in (folder, *shared) for path in place.glob("*.py")]

    def forget() -> None:
        for name in names:
            sys.modules.pop(name, None)

    forget()
    sys.path[:0] = [str(folder), str(BENCHMARKS)]
    try:
        yield import_module
    finally:
        sys.path[:] = before
        forget()


def committed_lines(folder: Path) -> list[dict]:
    """Return the lines that a benchmark's page is made from."""
    path = folder / "results.jsonl"
    return [json.loads(text) for text in path.read_text().splitlines()]


def line(task: str, method: str, seed: int, **values: object) -> dict:
    """Return a line as a run writes it."""
    return {
        "task": task,
        "method": method,
        "seed": seed,
        "rows": [80, 20],
        "commit": "abc",
        "threads": 1,
        "machine": "a CPU",
        "on": "CPU",
        "versions": {"torch": "2"},
        **values,
    }


def state(load: Load, lines: list[dict], words: str) -> tuple[str, str]:
    """Return state and figure of the one target whose text has `words`."""
    (found,) = [one for one in load("targets").targets(pd.DataFrame(lines)) if words in one.wanted]
    return found.state, found.found
