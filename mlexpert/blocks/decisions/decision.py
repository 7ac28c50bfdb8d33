"""The interface of a decision rule, and what it chose on validation."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn


@dataclass(frozen=True)
class Decision:
    """The fitted numbers of a decision rule.

    Attributes:
        temperature: What logits are divided by before the softmax or sigmoid; 1 for regression.
        tau: Strength of the correction by the training prior; 0 where there is none.
        rule: How they were chosen, as a sentence for the report.
        rarest_rows: Validation rows of the class or label that has the fewest; 0 for regression.
        thresholds: (K,) probability from which on each label is given; empty where there are none.
        threshold: Probability of the rarer of two classes from which on it is decided for; None
            where there is no such threshold.
        strength: How much of the correction to the natural prior is made; None where the model was
            trained on that prior.
    """

    temperature: float
    tau: float
    rule: str
    rarest_rows: int
    thresholds: tuple[float, ...] = ()
    threshold: float | None = None
    strength: float | None = None


class DecisionRule(nn.Module):
    """Turns what a model returns into calibrated probabilities and into decisions."""

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return calibrated probabilities (N, K) under the natural prior; numbers for regression.

        Args:
            logits: (N, K), or (N, M, K) for the members of an ensemble.
        """
        raise NotImplementedError

    def decide(self, logits: Tensor) -> Tensor:
        """Return the chosen class (N,), labels (N, K) as bool, or numbers (N,)."""
        raise NotImplementedError

    def fit(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Decision:
        """Choose what is to be chosen on validation.

        Args:
            logits: (N, K) or (N, M, K) of the validation rows.
            targets: (N,) class indices or numbers, or (N, K) labels.
            weights: (N,) how much each row counts, or None where all count alike.
        """
        raise NotImplementedError

    def unfitted(self) -> Self:
        """Return a rule that takes a model at its word, as this one did before `fit`.

        Only what changes the logits' meaning beside a temperature needs to be undone.
        """
        return copy.deepcopy(self)

    @classmethod
    def joint(cls, rules: Sequence[Self]) -> Self:
        """Return a rule, to be fitted, for the mean of the probabilities that several models give.

        Only what a rule knows of its own model needs to be joined: what is chosen is chosen anew.

        Args:
            rules: Of the models, fitted.
        """
        return copy.deepcopy(rules[0])
