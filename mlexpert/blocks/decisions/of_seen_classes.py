"""Argmax among the classes that a stream has brought so far."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mlexpert.blocks.decisions.argmax import Argmax
from mlexpert.blocks.decisions.decision import Decision
from mlexpert.blocks.layers.task_classes import TaskClasses


class OfSeenClasses(Argmax):
    """The most probable class of those that were met; the others have no probability.

    Args:
        class_counts: (K,) training rows of each class.
        classes: Which were met; shared with the method that learns.

    Example:
        >>> classes = TaskClasses(2)
        >>> classes.see(torch.tensor([1]), 0)
        >>> decide = OfSeenClasses([5, 5], classes)
        >>> decide.probabilities(torch.tensor([[3.0, 0.0]])).tolist()
        [[0.0, 1.0]]
    """

    def __init__(self, class_counts: Sequence[int], classes: TaskClasses) -> None:
        super().__init__([max(1, count) for count in class_counts])
        self.classes = classes

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the calibrated probabilities (N, K) of logits (N, K) or (N, M, K)."""
        return super().probabilities(self.classes.of_seen(logits))

    def decide(self, logits: Tensor) -> Tensor:
        """Return the chosen class (N,) of logits (N, K) or (N, M, K)."""
        return super().decide(self.classes.of_seen(logits))

    @torch.no_grad()
    def fit(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Decision:
        """Choose the temperature; arguments as in `DecisionRule.fit`."""
        return super().fit(self.classes.of_seen(logits), targets, weights)
