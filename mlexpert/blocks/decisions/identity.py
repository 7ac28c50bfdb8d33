"""Regression: the prediction is what the model says, in the unit of the user's numbers."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from mlexpert.blocks.decisions.decision import Decision, DecisionRule


class Moments(Protocol):
    """Mean and standard deviation by which the training targets were standardised."""

    @property
    def mean(self) -> float:
        """Return the mean, in the targets' unit."""

    @property
    def std(self) -> float:
        """Return the standard deviation, in the targets' unit."""


class Identity(DecisionRule):
    """Undoes the standardisation of the targets, and averages the members of an ensemble.

    Args:
        values: Of the training targets.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, values: Moments) -> None:
        super().__init__()
        # In double: a price in cents or a time stamp has more digits than float32 holds.
        self.register_buffer("mean", torch.tensor(values.mean, dtype=torch.float64))
        self.register_buffer("std", torch.tensor(values.std, dtype=torch.float64))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the predicted numbers: there are no probabilities."""
        return self.decide(logits)

    def decide(self, logits: Tensor) -> Tensor:
        """Return the numbers (N,) in float64, for outputs (N, 1) or (N, M, 1)."""
        return logits.double().flatten(1).mean(dim=1) * self.std + self.mean

    def fit(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Decision:
        """Return that there is nothing to choose."""
        return Decision(
            temperature=1.0,
            tau=0.0,
            rule="the model's output, in the unit of the targets",
            rarest_rows=0,
        )
