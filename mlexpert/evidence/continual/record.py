"""The stream of tasks of a run, read from its folder: the accuracy matrices and what tasks cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

Moments = Sequence[Mapping[str, Any]]
"""Lines of the history: before the first stretch, and after each one."""
TASKS = "tasks"
"""The split of the rows of `metrics.jsonl` that are written after each task."""


@dataclass(frozen=True)
class StreamRecord:
    """What a run measured along a stream of T tasks, in S stretches of training.

    Attributes:
        scenario: "class", "domain" or "task": what is asked of the network.
        classes: Names of the classes of each task, as far as they are known.
        boundaries: Whether the method was told where a task ends.
        blur: Share of a task's length over which its rows mix with the next task's.
        asked: (S + 1, T) accuracies as the scenario asks; NaN where not measured, and where a class
            had not been met: it is not decided for, which is no news.
        task_aware: (S + 1, T) accuracies with the task told; None where they were not measured.
        learned: (T,) rows of `asked` by which each task had been learned: 0 where an earlier run
            had, -1 where it has not been.
        first_task: The first task whose learning is on record; row 0 is of the network before it.
        began: The task that this run learned first; more than 0 where it went on from another.
        rows: (T,) validation rows of each task; 0 where not known.
        train_rows: (S,) rows of each stretch; NaN where not known, as in all that follows.
        seconds: (S,) that each stretch took.
        buffer_bytes: (S,) that the method kept beside the network after each stretch: remembered
            rows, importances, an older network.
        fresh: (T,) accuracy of a new network that was trained on the task alone.
    """

    scenario: str
    classes: tuple[tuple[str, ...], ...]
    boundaries: bool
    blur: float
    asked: np.ndarray
    task_aware: np.ndarray | None
    learned: np.ndarray
    first_task: int
    began: int
    rows: np.ndarray
    train_rows: np.ndarray
    seconds: np.ndarray
    buffer_bytes: np.ndarray
    fresh: np.ndarray

    @property
    def told(self) -> np.ndarray | None:
        """Accuracies (S + 1, T) with the task told: also those that the scenario asks for."""
        return self.asked if self.scenario == "task" else self.task_aware

    @property
    def num_tasks(self) -> int:
        """Tasks of the stream, also those that have not come yet."""
        return self.asked.shape[1]

    @property
    def num_stretches(self) -> int:
        """Stretches that were trained to their end."""
        return len(self.asked) - 1

    @property
    def is_joint(self) -> bool:
        """Whether all tasks were learned in one stretch."""
        return self.num_tasks > 1 and self.num_stretches == 1 and bool((self.learned == 1).all())


def stream_record(
    run: Mapping[str, Any], history: Iterable[Mapping[str, Any]]
) -> StreamRecord | None:
    """Return the stream that a run was trained on, or None where it tells of none.

    Args:
        run: `run.json`.
        history: Lines of `metrics.jsonl`. Those of earlier runs, if it went on, are in `run`.
    """
    facts = run.get("stream") or {}
    found = _by_task(facts, history)
    met = (len(_of(row, "class_incremental")) for row in found.values())
    num_tasks = max([facts.get("num_tasks") or 0, *met])
    if not found or not num_tasks:
        return None
    began = int(facts.get("first_task") or 0)
    first = min(found) + 1 if began else 0
    moments = [found.get(after, {}) for after in range(first - 1, max(found) + 1)]
    scenario, trained = facts.get("scenario", "class"), moments[1:]
    told = _matrix(moments, "task_aware", num_tasks)
    asked = _matrix(moments, "class_incremental", num_tasks)
    counts = [_filled(_of(row, "rows"), num_tasks, 0) for row in moments]
    fresh = _numbers(trained, "fresh")[: num_tasks - first]
    return StreamRecord(
        scenario=scenario,
        classes=tuple(tuple(str(name) for name in task) for task in facts.get("classes") or ()),
        boundaries=bool(facts.get("boundaries", True)),
        blur=float(facts.get("blur") or 0.0),
        asked=np.where(_met(moments, num_tasks, first), asked, np.nan)
        if scenario == "class"
        else asked,
        task_aware=None if np.isnan(told).all() else told,
        learned=_learned(len(trained), num_tasks, first, joint=_is_joint(run, moments, num_tasks)),
        first_task=first,
        began=began,
        rows=np.array(counts, dtype=int).max(axis=0),
        train_rows=_numbers(trained, "train_rows"),
        seconds=_numbers(trained, "seconds"),
        buffer_bytes=_numbers(trained, "buffer_bytes"),
        fresh=np.array(_filled([np.nan] * first + fresh.tolist(), num_tasks, np.nan)),
    )


def _by_task(
    facts: Mapping[str, Any], history: Iterable[Mapping[str, Any]]
) -> dict[int, Mapping[str, Any]]:
    """Return the line after each task, -1 standing for before any; of two the later one counts."""
    found = {row["after"]: row for row in facts.get("before") or () if "after" in row}
    start = int(facts.get("first_task") or 0) - 1
    for row in history:
        after = row.get("after")
        if row.get("split") != TASKS or not isinstance(after, int):
            continue
        again = after == start and after in found
        found[after] = _completed(found[after], row) if again else row
    return found


def _completed(line: Mapping[str, Any], again: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a line with what it lacks, from the network's measurement when a run went on."""
    both = {}
    for key in ("class_incremental", "task_aware"):
        pairs = zip_longest(_of(line, key), _of(again, key))
        both[key] = [new if old is None else old for old, new in pairs]
    return {**line, **both}


def accuracy_over_tasks(file: Path) -> float:
    """Return the mean over tasks of the accuracy of a split's predictions.

    Args:
        file: Arrays "decisions" (N,), "targets" (N,) and "tasks" (N,); NaN without one of them.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(file)
        right, tasks = arrays["decisions"] == arrays["targets"], arrays["tasks"]
    except (OSError, KeyError, SafetensorError):
        return np.nan
    return float(np.mean([right[tasks == number].mean() for number in np.unique(tasks)]))


def _is_joint(run: Mapping[str, Any], moments: Moments, num_tasks: int) -> bool:
    """Return whether one stretch was all: it met every task, or the run ended well after it."""
    met = set(_of(moments[-1], "seen"))
    return len(moments) == 2 and (len(met) == num_tasks or run.get("status") == "finished")


def _learned(num_stretches: int, num_tasks: int, first: int, *, joint: bool) -> np.ndarray:
    """Return (T,) the row by which each task had been learned: its own, but of joint training.

    What a blurred stream has shown of the next task does not make that one learned.
    """
    if joint and not first:
        return np.ones(num_tasks, dtype=int)
    rows = np.maximum(np.arange(num_tasks) + 1 - first, 0)
    return np.where(rows <= num_stretches, rows, -1)


def _met(moments: Moments, num_tasks: int, first: int) -> np.ndarray:
    """Return (S + 1, T) whether a class of the task had been met at each moment."""
    seen = (row.get("seen", range(first + number)) for number, row in enumerate(moments))
    return np.array([np.isin(np.arange(num_tasks), list(tasks)) for tasks in seen])


def _matrix(moments: Moments, key: str, num_tasks: int) -> np.ndarray:
    rows = [_filled(_of(row, key), num_tasks, np.nan) for row in moments]
    return np.array(rows, dtype=float)


def _of(row: Mapping[str, Any], key: str) -> list[Any]:
    """Return a list of a row; JSON has null for what was not measured."""
    return list(row.get(key) or [])


def _filled(values: Sequence[Any], length: int, filling: float) -> list[Any]:
    """Return the values with `filling` at the end: a stream that grew had fewer tasks at first."""
    return [*values, *[filling] * (length - len(values))]


def _numbers(rows: Iterable[Mapping[str, Any]], key: str) -> np.ndarray:
    return np.array([row.get(key) for row in rows], dtype=float)
