"""The climb of Auto-PGD from one start: momentum, and a step that is halved where it does not help.

The step starts at twice epsilon. At checkpoints, which come ever closer, it is halved for the rows
that do not get on, and they go back to the best point that they have seen.

Paper: Croce & Hein 2020, arXiv:2003.01690, algorithm 1.
Differs from the paper: the second condition is not asked at the first checkpoint, before which
there is nothing to compare with; L1 takes the sparse step of the threat.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from mlexpert.blocks.attacks.attacked import Model, input_gradient
from mlexpert.blocks.attacks.margins import is_broken
from mlexpert.blocks.attacks.threat import Threat, per_row

MOMENTUM = 0.75
"""Weight of the new step; alpha in the paper."""
LEAST_RISES = 0.75
"""Share of the iterations between checkpoints that must raise the objective; rho in the paper."""
FIRST_SHARE = 2.0
"""Length of the first steps, in units of epsilon."""


def checkpoints(steps: int) -> list[int]:
    """Return the iterations at which step sizes are looked at: ceil(p_j * steps), section 3.1."""
    before, share, found = 0.0, 0.22, []
    while share <= 1:
        found.append(math.ceil(round(share * steps, 9)))
        before, share = share, share + max(share - before - 0.03, 0.06)
    return sorted(set(found))


def climb(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    threat: Threat,
    start: Tensor,
    steps: int,
    objective: Callable[..., Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return where each row ended (B, ...), the objective there (B,), and whether it broke (B,).

    Args:
        model: Maps inputs to logits (B, K); attacked already.
        inputs: (B, ...) inside the box of the threat.
        labels: (B, L) classes that the objective takes after the logits, the true one first.
        threat: What the attacker may do, on the device of the inputs.
        start: (B, ...) where to begin.
        steps: Steps, each a forward and a backward pass.
        objective: Maps logits (B, K) and L times classes (B,) to what is raised (B,).
    """
    rows = _begun(inputs, labels, threat, start)
    ends, values = start.clone(), torch.zeros(len(start), dtype=torch.float64, device=start.device)
    fell = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    looks, last = checkpoints(steps), 0
    for step in range(steps + 1):
        gradient, value, logits = input_gradient(model, rows.at, _with(objective, rows.labels))
        rows.learn(gradient, value.double())
        broken = is_broken(logits, rows.labels[:, 0])
        if bool(broken.any()):
            places = rows.places[broken]
            ends[places], fell[places] = rows.at[broken], True
            rows.keep(~broken)
        if not len(rows.places):
            break
        if step in looks:
            rows.check(step - last)
            last = step
        if step < steps:
            rows.move(threat, MOMENTUM if step else 1.0)
    ends[rows.places], values[rows.places] = rows.best, rows.best_value
    return ends, values, fell


@dataclass
class _Rows:
    """The rows that still stand: where they are (B, ...), and what they have seen (B,)."""

    places: Tensor
    inputs: Tensor
    lower: Tensor
    upper: Tensor
    labels: Tensor
    at: Tensor
    previous: Tensor
    gradient: Tensor
    best: Tensor
    best_gradient: Tensor
    value: Tensor
    best_value: Tensor
    value_at_check: Tensor
    share: Tensor
    """Length of the step, in units of epsilon."""
    rises: Tensor
    was_halved: Tensor

    def keep(self, on: Tensor) -> None:
        """Let go of the rows that are not `on` (B,)."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[on])

    def learn(self, gradient: Tensor, value: Tensor) -> None:
        """Take in the gradient and the objective at the present points."""
        self.rises += value > self.value
        self.gradient, self.value = gradient, value
        better = value > self.best_value
        wide = per_row(better, self.at)
        self.best = torch.where(wide, self.at, self.best)
        self.best_gradient = torch.where(wide, gradient, self.best_gradient)
        self.best_value = torch.where(better, value, self.best_value)

    def check(self, iterations: int) -> None:
        """Halve the steps of rows that do not get on, and take them back to their best point."""
        stuck = (self.rises < LEAST_RISES * iterations) | (
            ~self.was_halved & (self.best_value <= self.value_at_check)
        )
        self.share = torch.where(stuck, self.share / 2, self.share)
        wide = per_row(stuck, self.at)
        self.at = torch.where(wide, self.best, self.at)
        self.gradient = torch.where(wide, self.best_gradient, self.gradient)
        self.value = torch.where(stuck, self.best_value, self.value)
        self.was_halved, self.value_at_check = stuck, self.best_value
        self.rises = torch.zeros_like(self.rises)

    def move(self, threat: Threat, momentum: float) -> None:
        """Go a step up, less the share of it that goes on as before."""
        bounds = (self.lower, self.upper)
        new = threat.step(self.at, self.gradient, self.share * threat.length, self.inputs, bounds)
        if momentum < 1:
            new = new.mul_(momentum).add_(self.at, alpha=2 - 2 * momentum)
            new = new.sub_(self.previous, alpha=1 - momentum)
            new = threat.project(new, self.inputs, bounds)
        self.previous, self.at = self.at, new


def _begun(inputs: Tensor, labels: Tensor, threat: Threat, start: Tensor) -> _Rows:
    lower, upper = threat.bounds(inputs)
    lowest = torch.full((len(start),), -torch.inf, dtype=torch.float64, device=start.device)
    return _Rows(
        places=torch.arange(len(start), device=start.device),
        inputs=inputs,
        lower=lower,
        upper=upper,
        labels=labels,
        at=start,
        previous=start,
        gradient=torch.zeros_like(start),
        best=start,
        best_gradient=torch.zeros_like(start),
        value=lowest,
        best_value=lowest,
        value_at_check=lowest,
        share=torch.full_like(lowest, FIRST_SHARE).to(start.dtype),
        rises=torch.full_like(lowest, -1.0),  # the start itself is no rise
        was_halved=torch.ones_like(lowest, dtype=torch.bool),
    )


def _with(objective: Callable[..., Tensor], labels: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda logits: objective(logits, *labels.unbind(1))
