"""What the tasks of a stream hold: their classes, and whether every part has rows of each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlexpert.data.examples import Examples
from mlexpert.errors import InputError

_SHOWN = 10


def tasks_in(rows: Examples) -> np.ndarray:
    """Return the task (N,) of each row.

    Raises:
        InputError: The rows are of no stream.
    """
    if rows.tasks is None:
        raise InputError("these rows are of no stream: make one with mlexpert.data.stream(ds)")
    return rows.tasks


def task_classes_of(train: Examples) -> list[list]:
    """Return the labels of each task, sorted: those that its training rows have.

    Raises:
        InputError: The rows are of no stream.
    """
    tasks, targets = tasks_in(train), np.asarray(train.targets)
    return [np.unique(targets[tasks == number]).tolist() for number in range(int(tasks.max()) + 1)]


def refuse_absent_tasks(parts: Mapping[str, Examples]) -> None:
    """Raise an error where a part has no row of a task: it could not be learned, or not be judged.

    Args:
        parts: The rows of each part; where they are of no stream, nothing is asked.

    Raises:
        InputError: It is so; the message names the tasks.
    """
    streamed = {part: rows.tasks for part, rows in parts.items() if rows.tasks is not None}
    num_tasks = max((int(tasks.max()) + 1 for tasks in streamed.values() if len(tasks)), default=0)
    for part, tasks in streamed.items():
        absent = np.setdiff1d(np.arange(num_tasks), tasks).tolist()
        if absent:
            where = "the data" if part == "all" else f"the {part} split"
            more = ", ..." if len(absent) > _SHOWN else ""
            raise InputError(
                f"{where} has no row of task {', '.join(map(str, absent[:_SHOWN]))}{more} (of "
                f"{num_tasks}, counted from 0): every task needs rows in every split. Add some, or "
                "make fewer tasks"
            )
