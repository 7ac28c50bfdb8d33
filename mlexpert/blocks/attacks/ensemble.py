"""Several attacks in a row, each on the rows that the ones before left standing.

The verdict is the worst case of every row over all attacks; and each attack's own gain shows which
of them the model was weak against.

Paper: Croce & Hein 2020, arXiv:2003.01690, section 5.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlexpert.blocks.attacks.attacked import Model, attacked, logits_at
from mlexpert.blocks.attacks.margins import is_broken
from mlexpert.blocks.attacks.threat import Threat
from mlexpert.errors import InputError

WRONG_ALREADY = -1
STANDING = -2


@dataclass(frozen=True)
class Attempt:
    """An attack with its parameters.

    Attributes:
        name: As a report shows it.
        parameters: What it is run with, for the record.
        run: Maps model, inputs (B, ...), targets (B,), threat and names of rows (B,) to inputs
            (B, ...) under attack.
    """

    name: str
    parameters: dict[str, int | float | str]
    run: Callable[[Model, Tensor, Tensor, Threat, Tensor], Tensor]


@dataclass(frozen=True)
class Gain:
    """What one attempt added: rows that stood before and after it, and its wall-clock seconds."""

    name: str
    parameters: dict[str, int | float | str]
    standing_before: int
    standing_after: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What became of each of N rows.

    Attributes:
        clean_correct: (N,) whether the decision on the input itself is right.
        broken: (N,) whether the input itself or any attack has a wrong decision.
        adversarial: (N, ...) the input that broke it; where nothing did, the input itself.
        broken_by: (N,) int64 index of the attempt; -1 wrong already, -2 still standing.
        gains: One for each attempt.
    """

    clean_correct: Tensor
    broken: Tensor
    adversarial: Tensor
    broken_by: Tensor
    gains: tuple[Gain, ...]


def run_attempts(
    model: Model,
    inputs: Tensor,
    targets: Tensor,
    threat: Threat,
    attempts: Sequence[Attempt],
    *,
    rows: int = 500,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Outcome:
    """Return what became of each row under all attempts, in their order.

    Whether a row is broken is decided here, on the input that an attack returned and that was put
    inside the threat once more; no attack is believed.

    Args:
        model: Maps inputs to logits (B, K); left as it was.
        inputs: (N, ...) inside the box of the threat, on the model's device.
        targets: (N,) class indices.
        threat: What the attacker may do.
        attempts: In order: what is cheap and breaks much comes first.
        rows: Rows that are attacked at once; of no effect on the result but rounding.
        on_progress: Is told an attempt's name, rows it is done with, and rows it began with.

    Raises:
        InputError: If an input is outside the box, or what an attempt raises.
    """
    threat = threat.to(inputs)
    _refuse_outside(inputs, threat)
    adversarial, gains = inputs.clone(), []
    with attacked(model):
        broken = torch.cat([_fell(model, *pair) for pair in _cut(inputs, targets, rows)])
        correct = ~broken
        broken_by = torch.where(broken, WRONG_ALREADY, STANDING)
        for index, attempt in enumerate(attempts):
            before, began, done = (~broken).nonzero().squeeze(1), time.perf_counter(), 0
            for batch in before.split(rows) if len(before) else ():
                moved = attempt.run(model, inputs[batch], targets[batch], threat, batch)
                moved = _valid(moved.detach(), inputs[batch], threat)
                fell = _fell(model, moved, targets[batch])
                adversarial[batch[fell]], broken[batch[fell]] = moved[fell], True
                broken_by[batch[fell]] = index
                done += len(batch)
                if on_progress is not None:
                    on_progress(attempt.name, done, len(before))
            seconds = time.perf_counter() - began
            after = len(broken) - int(broken.sum())
            gains.append(Gain(attempt.name, attempt.parameters, len(before), after, seconds))
    return Outcome(correct, broken, adversarial, broken_by, tuple(gains))


def _cut(inputs: Tensor, targets: Tensor, rows: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(inputs.split(rows), targets.split(rows), strict=True))


def _fell(model: Model, inputs: Tensor, targets: Tensor) -> Tensor:
    return is_broken(logits_at(model, inputs), targets)


def _valid(moved: Tensor, inputs: Tensor, threat: Threat) -> Tensor:
    """Return the points inside the threat; a gradient of nan must not pass for a broken row."""
    return threat.project(torch.where(torch.isfinite(moved), moved, inputs), inputs)


def _refuse_outside(inputs: Tensor, threat: Threat) -> None:
    if not len(inputs):
        raise InputError("There are no rows to attack; give at least one.")
    if not bool(((inputs >= threat.low) & (inputs <= threat.high)).all()):
        least, most = float(inputs.min()), float(inputs.max())
        raise InputError(
            f"Inputs are from {least:g} to {most:g}, outside the box of the threat; epsilon is in "
            "the unit of raw inputs, so normalise inside the model, or set low and high."
        )
