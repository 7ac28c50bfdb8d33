"""An attack that has ended: what its checks look at, and cheap attacks to hold beside it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mlexpert.blocks.attacks.attacked import logits_at
from mlexpert.blocks.attacks.ensemble import Outcome
from mlexpert.blocks.attacks.margins import is_broken, margin
from mlexpert.blocks.attacks.noise import uniform
from mlexpert.blocks.attacks.pgd import pgd_restarts
from mlexpert.blocks.attacks.square import square
from mlexpert.blocks.attacks.threat import Threat

SAMPLED = 128
"""Rows that most checks look at: together they are to cost less than the attack."""
CHEAP_STEPS = 10
LENGTH = 2.5
"""All steps of an attack together, in epsilons."""


@dataclass(frozen=True)
class Scene:
    """A model, rows, and what an attack did.

    Attributes:
        model: Maps inputs (B, ...) to logits (B, K), in eval mode and without gradients of its
            own: it is under `attacked`.
        inputs: (N, ...).
        targets: (N,) class indices.
        threat: What the attacker may do.
        epsilon: Its radius in the record's unit.
        outcome: What the attack did.
        steps: Most steps of an attempt.
        has_gradient: Whether the model could be attacked by gradients.
        seed: Of what is drawn.
        batch_size: Rows that are looked at together.
    """

    model: nn.Module
    inputs: Tensor
    targets: Tensor
    threat: Threat
    epsilon: float
    outcome: Outcome
    steps: int
    has_gradient: bool
    seed: int
    batch_size: int

    def __len__(self) -> int:
        return len(self.inputs)

    def sample(self, most: int = SAMPLED) -> Tensor:
        """Return places (n,) of at most as many rows, evenly spaced over all."""
        return spaced(torch.arange(len(self), device=self.inputs.device), most)

    def correct(self, most: int = SAMPLED) -> Tensor:
        """Return places (n,) of rows that are decided rightly before the attack."""
        return spaced(self.outcome.clean_correct.nonzero().squeeze(1), most)

    def standing(self, most: int = SAMPLED) -> Tensor:
        """Return places (n,) of rows that no attack broke."""
        return spaced((~self.outcome.broken).nonzero().squeeze(1), most)

    def wrong(self, moved: Tensor, rows: Tensor) -> Tensor:
        """Return (n,) whether inputs (n, ...) in place of those rows are decided wrongly."""
        cuts = torch.arange(len(rows), device=rows.device).split(self.batch_size)
        found = [
            is_broken(logits_at(self.model, moved[cut]), self.targets[rows[cut]]) for cut in cuts
        ]
        return torch.cat(found) if found else rows.bool()

    def by_gradient(self, rows: Tensor, threat: Threat, steps: int, restarts: int = 1) -> Tensor:
        """Return (n,) whether PGD on the margin breaks those rows, or they were wrong anyway."""
        moved = [
            pgd_restarts(
                self.model,
                self.inputs[cut],
                self.targets[cut],
                threat,
                steps=steps,
                step_size=LENGTH / steps,
                restarts=restarts,
                seed=self.seed + 1,
                ids=cut,
                objective=margin,
            )
            for cut in rows.split(self.batch_size)
        ]
        return self.wrong(torch.cat(moved), rows)

    def by_queries(self, rows: Tensor, threat: Threat, queries: int) -> Tensor:
        """Return (n,) whether Square breaks those rows, or they were wrong anyway."""
        moved = [
            square(
                self.model,
                self.inputs[cut],
                self.targets[cut],
                threat,
                queries=queries,
                seed=self.seed + 1,
                ids=cut,
            )
            for cut in rows.split(self.batch_size)
        ]
        return self.wrong(torch.cat(moved), rows)

    def by_noise(self, rows: Tensor, draws: int) -> Tensor:
        """Return (n,) whether one of several random points of the ball breaks those rows."""
        inputs, threat = self.inputs[rows], self.threat.to(self.inputs)
        found = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        for draw in range(draws):
            noise = uniform(rows, inputs.shape[1:], seed=self.seed + 1, stream=1_000 + draw)
            moved = threat.random_start(inputs, noise.to(inputs.dtype))
            found |= self.wrong(moved, rows)
        return found


def spaced(rows: Tensor, most: int) -> Tensor:
    """Return at most as many of the rows (n,), evenly spaced."""
    if len(rows) <= most:
        return rows
    places = torch.arange(most, device=rows.device) * len(rows) // most
    return rows[places]


def whole_box(threat: Threat, inputs: Tensor) -> Threat:
    """Return the threat of one who may set every value that the threat moves at all to anything."""
    low, high = threat.low, threat.high
    if isinstance(threat.epsilon, Tensor) and threat.epsilon.numel() > 1:
        span = torch.as_tensor(high) - torch.as_tensor(low)
        return Threat("linf", torch.where(threat.epsilon > 0, span, 0.0), low, high)
    return Threat("linf", float(torch.as_tensor(high) - torch.as_tensor(low)), low, high)
