"""One of our recipes, fitted as a user would, and what attacks leave of it.

The test rows are attacked once, after training: their images as the network takes them, its most
probable class.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from borrowed import Clock, Rows
from protocol import RESTARTS, STEPS, Measured
from torch import Tensor

from mlexpert.blocks.attacks.attacked import Model, attacked, logits_at
from mlexpert.blocks.attacks.auto_attack import standard_attempts
from mlexpert.blocks.attacks.ensemble import Outcome, run_attempts
from mlexpert.blocks.attacks.margins import is_broken
from mlexpert.blocks.attacks.pgd import pgd_restarts
from mlexpert.blocks.attacks.threat import Threat
from mlexpert.data.as_trained import read_labelled
from mlexpert.fitted import Fitted
from mlexpert.recipes import get
from mlexpert.training.trainer import Trainer

AT_ONCE = 500
ROBUST_ERROR = "robust_error"
"""Of validation rows after each epoch, in `metrics.jsonl`."""


def fit_timed(method: str, fields: dict[str, Any], train: Rows) -> tuple[Fitted, dict[str, float]]:
    """Fit a recipe, and return it with the CPU and wall seconds of `Trainer.run`."""
    with _timed() as seconds:
        fitted = get(method, **fields).fit(
            {"train": (train.inputs, train.targets)},
            run_dir=tempfile.mkdtemp(prefix="fit-"),
            fresh=True,
            leakage="report",
            progress=False,
        )
    return fitted, seconds


@contextmanager
def _timed() -> Iterator[dict[str, float]]:
    seconds: dict[str, float] = {}
    run = Trainer.run

    def timed_run(trainer: Trainer) -> Any:
        clock = Clock()
        try:
            return run(trainer)
        finally:
            for unit, value in clock.lap().items():
                seconds[unit] = seconds.get(unit, 0.0) + value

    Trainer.run = timed_run
    try:
        yield seconds
    finally:
        Trainer.run = run


def judged(fitted: Fitted, test: Rows, task: Measured, *, smoke: bool) -> dict[str, float]:
    """Return the shares of test rows that are right: clean, under PGD, under auto_attack."""
    model, (inputs, targets) = fitted.parts.network.model, as_inputs(fitted, test)
    threat = Threat("linf", task.epsilon)
    clock, found = Clock(), {"clean": standing(model, inputs, targets).double().mean().item()}
    restarts = 2 if smoke else RESTARTS
    left = [
        standing(
            model,
            pgd_restarts(
                model,
                images,
                labels,
                threat,
                steps=5 if smoke else STEPS,
                step_size=task.step_size,
                restarts=restarts,
                seed=0,
                ids=ids,
            ),
            labels,
        )
        for images, labels, ids in zip(
            *(
                one[: task.pgd_rows].split(AT_ONCE)
                for one in (inputs, targets, torch.arange(len(inputs), device=inputs.device))
            ),
            strict=True,
        )
    ]
    found["pgd"] = torch.cat(left).double().mean().item()
    found["pgd_cpu_seconds"] = clock.lap()["cpu_seconds"]
    outcome = attack(model, inputs[: task.auto_rows], targets[: task.auto_rows], threat, smoke)
    found["auto"] = 1 - outcome.broken.double().mean().item()
    found["auto_cpu_seconds"] = clock.lap()["cpu_seconds"]
    return found


def attack(model: Model, inputs: Tensor, targets: Tensor, threat: Threat, smoke: bool) -> Outcome:
    """Return what our auto_attack did to each row; a smoke run has the quick one on few."""
    if smoke:
        inputs, targets = inputs[:20], targets[:20]
    attempts = standard_attempts(10, seed=0, version="quick" if smoke else "standard")
    return run_attempts(model, inputs, targets, threat, attempts)


def as_inputs(fitted: Fitted, rows: Rows) -> tuple[Tensor, Tensor]:
    """Return images (N, C, H, W) as the network takes them, and classes (N,), on its device."""
    about = fitted.facts["data"]
    examples = read_labelled(
        (rows.inputs, rows.targets),
        schema=fitted.schema,
        target=about["target"],
        inputs=about["inputs"],
    )
    network = fitted.parts.network
    device = next(network.model.parameters()).device
    images = network.encode(examples).take(torch.arange(len(rows))).to(device)
    return images, torch.as_tensor(rows.targets, device=device).long()


def standing(model: Model, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return (N,) whether the decision on each input is right."""
    with attacked(model):
        pieces = zip(inputs.split(AT_ONCE), targets.split(AT_ONCE), strict=True)
        return torch.cat([~is_broken(logits_at(model, x), y) for x, y in pieces])


def over_epochs(fitted: Fitted) -> dict[str, float]:
    """Return the robust accuracy on validation of the last epoch, less that of the best."""
    lines = (fitted.run_dir / "metrics.jsonl").read_text().splitlines()
    errors = [row[ROBUST_ERROR] for row in map(json.loads, lines) if ROBUST_ERROR in row]
    return {"last_less_best": min(errors) - errors[-1], "epochs": len(errors)} if errors else {}
