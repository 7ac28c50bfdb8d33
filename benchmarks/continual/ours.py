"""One of our recipes, fitted as a user would, with a clock around the training loop."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from borrowed import Clock, Rows

from mlexpert.evidence.continual.metrics import stream_metrics
from mlexpert.fitted import Fitted
from mlexpert.recipes import get
from mlexpert.training.trainer import Trainer

STREAM = "tasks"
"""The `split` of the lines in `metrics.jsonl` that are written after each task."""


def fit_timed(
    method: str, fields: dict[str, Any], train: Rows, test: Rows | None, permuted: int | None = None
) -> tuple[Fitted, dict[str, float]]:
    """Fit a recipe, and return it with the CPU and wall seconds of `Trainer.run`.

    Args:
        method: The recipe's name.
        fields: Of the recipe.
        train: Official training rows.
        test: Official test rows, which are sealed; None: there are none.
        permuted: Tasks to make by permuting pixels, where they are not made of classes.
    """
    parts = {"train": train} if test is None else {"train": train, "test": test}
    data: Any = {name: (rows.inputs, rows.targets) for name, rows in parts.items()}
    if permuted:
        from mlexpert.data import permuted as permuted_stream

        data = permuted_stream(data, num_tasks=permuted, seed=fields["seed"])
    with _timed() as seconds:
        fitted = get(method, **fields).fit(
            data,
            run_dir=tempfile.mkdtemp(prefix="fit-"),
            fresh=True,
            leakage="report",
            progress=False,
        )
    return fitted, seconds


@contextmanager
def _timed() -> Iterator[dict[str, float]]:
    """Give the seconds of `Trainer.run`, and the CPU seconds in it that no step was made in.

    Those are what `_settle` takes before each task: to choose the micro-batch and the arithmetic,
    and to keep a checkpoint.
    """
    seconds = {"settle_cpu_seconds": 0.0}
    run, settle = Trainer.run, Trainer._settle

    def timed_run(trainer: Trainer) -> Any:
        clock = Clock()
        try:
            return run(trainer)
        finally:
            seconds.update(clock.lap())

    def timed_settle(trainer: Trainer) -> None:
        clock = Clock()
        settle(trainer)
        seconds["settle_cpu_seconds"] += clock.lap()["cpu_seconds"]

    Trainer.run, Trainer._settle = timed_run, timed_settle
    try:
        yield seconds
    finally:
        Trainer.run, Trainer._settle = run, settle


def told_of(fitted: Fitted) -> dict[str, Any]:
    """Return what the run's record says of its stream."""
    lines = (fitted.run_dir / "metrics.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] == STREAM and row["after"] >= 0]
    found = stream_metrics(fitted.run_dir)
    times = np.diff([0.0, *(row["seconds"] for row in rows)])
    return {
        "validation_accuracy": found["average_accuracy"],
        "forgetting": found["forgetting"],
        "task_seconds": float(times.mean()),
        "buffer_kib": rows[-1]["buffer_bytes"] / 1024,
        "steps": rows[-1]["step"],
    }
