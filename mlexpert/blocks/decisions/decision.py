"""The interface of a decision rule, and what it chose on validation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Decision:
    """The fitted numbers of a decision rule.

    Attributes:
        temperature: What logits are divided by before the softmax.
        tau: Strength of the correction by the training prior; 0 is plain argmax.
        rule: How they were chosen, as a sentence for the report.
        rarest_rows: Validation rows of the class that has the fewest.
    """

    temperature: float
    tau: float
    rule: str
    rarest_rows: int


class DecisionRule(nn.Module):
    """Turns logits into calibrated probabilities and into a chosen class."""

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return calibrated probabilities (N, K) under the natural prior."""
        raise NotImplementedError

    def decide(self, logits: Tensor) -> Tensor:
        """Return the chosen class (N,)."""
        raise NotImplementedError

    def fit(self, logits: Tensor, targets: Tensor) -> Decision:
        """Choose what is to be chosen on validation logits (N, K) and targets (N,)."""
        raise NotImplementedError
