"""What the report says of a stream of tasks: its accuracy matrix, its metrics, and each task."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from mlexpert.evidence.continual import figures
from mlexpert.evidence.continual.metrics import (
    after_learning,
    against_fresh,
    forgotten,
    running_average,
    scores,
)
from mlexpert.evidence.continual.record import StreamRecord, stream_record
from mlexpert.evidence.record import RunRecord

NOT_MEASURED = "not measured"
SCENARIOS = {
    "class": "Class-incremental",
    "domain": "Domain-incremental",
    "task": "Task-incremental",
}
TOLD = "Task-aware"
COLOR = "validation"
"""Of the rows that all of it is measured on."""
MOST_CLASSES = 12
"""Classes of a task that are named."""
_METRICS = (
    (
        "average_accuracy",
        "Average accuracy",
        "Mean over tasks, in the end",
        "ACC, Lopez-Paz & Ranzato 2017",
    ),
    (
        "average_over_stream",
        "Average accuracy over the stream",
        "Mean over the stream of the average on the tasks learned by then",
        "average incremental accuracy, Rebuffi et al. 2017",
    ),
    (
        "forgetting",
        "Forgetting",
        "Best before the last task, less the last; mean over tasks but the last",
        "F, Chaudhry et al. 2018",
    ),
    (
        "backward_transfer",
        "Backward transfer",
        "The last, less right after learning; mean over tasks but the last",
        "BWT, Lopez-Paz & Ranzato 2017",
    ),
    (
        "forward_transfer",
        "Forward transfer",
        "Just before learning, less the untrained network's; mean over tasks but the first",
        "FWT, Lopez-Paz & Ranzato 2017",
    ),
    (
        "plasticity",
        "Plasticity",
        "Right after learning; mean over tasks",
        "learning accuracy, Riemer et al. 2019",
    ),
)
_FRESH = (
    "against_fresh",
    "Plasticity against a fresh network",
    "Right after learning, less that of a new network trained on the task alone",
    "Dohare et al. 2024",
)
_SIGNED = {"backward_transfer", "forward_transfer", "against_fresh"}
"""Differences to either side, which are shown with their sign."""


def stream(record: RunRecord) -> dict[str, Any] | None:
    """Return what the section on the stream says; None for a run that was not trained on one."""
    found = stream_record(record.run, record.history)
    if found is None:
        return None
    matrices = _matrices(found)
    return {
        "scenario": found.scenario,
        "titles": list(matrices),
        "num_tasks": found.num_tasks,
        "num_stretches": found.num_stretches,
        "first_task": found.first_task,
        "began": found.began,
        "has_ended": bool((found.learned >= 0).all()),
        "is_joint": found.is_joint,
        "boundaries": found.boundaries,
        "blur": found.blur,
        "maps": [(title, Markup(_map(matrix, found, title))) for title, matrix in matrices.items()],
        "curves": _curves(found),
        "told": found.scenario == "class" and found.task_aware is not None,
        "framed": found.num_tasks <= figures.MOST_NUMBERED,
        "named": found.num_tasks <= figures.MOST_LINES,
        "metrics": _metrics(found),
        "tasks": _tasks(found),
        "seconds": None if found.is_joint else _known(found.seconds.sum()),
        "joint": {
            "seconds": _first(found.seconds),
            "train_rows": _first(found.train_rows),
            "buffer": size(_first(found.buffer_bytes)),
        },
        "has_fresh": not np.isnan(found.fresh).all(),
    }


def in_figures(name: str, value: float) -> str:
    """Return a metric of a stream in words: a share, or a difference with its sign."""
    if np.isnan(value):
        return NOT_MEASURED
    number = f"{value:+.3f}" if name in _SIGNED else f"{value:.3f}"
    return number.replace("-", "\N{MINUS SIGN}")


def size(num_bytes: float | None) -> str:
    """Return bytes as a reader writes them."""
    if num_bytes is None or np.isnan(num_bytes):
        return NOT_MEASURED
    if num_bytes == 0:
        return "none"
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:,.1f} {unit}"
    return f"{num_bytes:.0f} bytes"


def _matrices(found: StreamRecord) -> dict[str, np.ndarray]:
    """Return the accuracy matrices by title: as the scenario asks, and with the task told."""
    matrices = {SCENARIOS.get(found.scenario, found.scenario): found.asked}
    if found.scenario == "class" and found.task_aware is not None:
        matrices[TOLD] = found.task_aware
    return matrices


def _map(matrix: np.ndarray, found: StreamRecord, title: str) -> str:
    words = f"{title} accuracy on each task after each task"
    return figures.accuracy_map(
        matrix, found.learned, first_task=found.first_task, title=words, color=COLOR
    )


def _curves(found: StreamRecord) -> Markup | None:
    if found.num_stretches < 2:
        return None
    told = found.task_aware if found.scenario == "class" else None
    return Markup(
        figures.accuracy_curves(
            found.asked,
            found.learned,
            running_average(found.asked, found.learned),
            None if told is None else running_average(told, found.learned),
            first_task=found.first_task,
            color=COLOR,
        )
    )


def _metrics(found: StreamRecord) -> list[dict[str, Any]]:
    """Return the rows of the table of metrics, with a value for each matrix."""
    measured = [scores(matrix, found.learned) for matrix in _matrices(found).values()]
    rows = [
        {
            "title": title,
            "what": what,
            "formula": formula,
            "values": [in_figures(name, values[name]) for values in measured],
        }
        for name, title, what, formula in _METRICS
    ]
    name, title, what, formula = _FRESH
    compared = found.asked if found.told is None else found.told
    value = in_figures(name, against_fresh(compared, found.learned, found.fresh))
    dashes = [""] * (len(measured) - 1)
    return [*rows, {"title": title, "what": what, "formula": formula, "values": [*dashes, value]}]


def _tasks(found: StreamRecord) -> list[dict[str, Any]]:
    """Return the rows of the table of tasks."""
    first, lost = after_learning(found.asked, found.learned), forgotten(found.asked, found.learned)
    rows = []
    for task in range(found.num_tasks):
        stretch = found.learned[task] - 1 if found.learned[task] > 0 else None
        if found.is_joint:
            stretch = None
        rows.append(
            {
                "number": task,
                "classes": _classes(found, task),
                "status": {0: "before the record", -1: "not learned"}.get(
                    int(found.learned[task]), ""
                ),
                "validation_rows": _known(found.rows[task]) or None,
                "train_rows": _at(found.train_rows, stretch),
                "seconds": _at(found.seconds, stretch),
                "buffer": "" if stretch is None else size(_at(found.buffer_bytes, stretch)),
                "first": _known(first[task]),
                "last": _known(found.asked[-1, task]) if found.learned[task] >= 0 else None,
                "lost": "" if np.isnan(lost[task]) else in_figures("forgetting", lost[task]),
                "fresh": _known(found.fresh[task]),
            }
        )
    return rows


def _classes(found: StreamRecord, task: int) -> str:
    if task >= len(found.classes):
        return ""
    names = found.classes[task]
    rest = len(names) - MOST_CLASSES
    return ", ".join(names[:MOST_CLASSES]) + (f" and {rest} more" if rest > 0 else "")


def _at(values: np.ndarray, stretch: int | None) -> float | None:
    return None if stretch is None or stretch >= len(values) else _known(values[stretch])


def _first(values: np.ndarray) -> float | None:
    return _known(values[0]) if len(values) else None


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
