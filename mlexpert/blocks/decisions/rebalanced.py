"""Decisions of a model that was trained on another prior: by its own logits, as its paper does.

Class weights, margins, adjusted logits and resampling all change what the model takes for a class;
that was what they were for. Its probabilities are put back to the natural prior, since a
probability is asked for to be believed.

Paper: Saerens et al. 2002, doi:10.1162/089976602753284446, equation 4, for the probabilities.
Differs from the paper: see `calibration.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from mlexpert.blocks.decisions.calibration import EXPECTED_STRENGTH, Calibration
from mlexpert.blocks.decisions.decision import Decision, DecisionRule
from mlexpert.blocks.decisions.temperature import log_probabilities


class Rebalanced(DecisionRule):
    """Decides by the largest logit; for an ensemble, by the mean of what its members say.

    Args:
        class_counts: (K,) training rows of each class.
        log_weight: (K,) logarithms of the weights that the classes have in the model's softmax
            beside the natural prior.

    Raises:
        ValueError: If there is not one finite weight for each class.

    Example:
        >>> decide = Rebalanced([90, 10], torch.tensor([1.0, 81.0]).log())
        >>> logits = torch.tensor([[0.8 * 1.0, 0.2 * 9.0]]).log()  # half of the weights' effect
        >>> decide.decide(logits).item(), round(decide.probabilities(logits)[0, 1].item(), 3)
        (1, 0.2)
    """

    def __init__(self, class_counts: Sequence[int], log_weight: Tensor) -> None:
        super().__init__()
        if log_weight.shape != (len(class_counts),) or not torch.isfinite(log_weight).all():
            raise ValueError(
                f"log_weight needs a finite number for each of {len(class_counts)} classes, "
                f"got {log_weight.tolist()}"
            )
        self.class_counts = tuple(class_counts)
        self.calibration = Calibration(log_weight)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the natural probabilities (N, K) of logits (N, K) or (N, M, K)."""
        return self.calibration.probabilities(logits)

    def decide(self, logits: Tensor) -> Tensor:
        """Return the chosen class (N,) of logits (N, K) or (N, M, K)."""
        return log_probabilities(logits).argmax(dim=-1)

    def unfitted(self) -> Rebalanced:
        """Return the rule at temperature 1 and the expected strength."""
        assert self.calibration.log_weight is not None
        return Rebalanced(self.class_counts, self.calibration.log_weight)

    @classmethod
    def joint(cls, rules: Sequence[Self]) -> Self:
        """Return a rule that, unfitted, takes off what these do in the mean, each by its strength.

        Put back on natural probabilities, that gives what the members decide by: their own logits.
        """
        taken_off = []
        for rule in rules:
            assert rule.calibration.log_weight is not None
            taken_off.append(rule.calibration.strength * rule.calibration.log_weight)
        mean = torch.stack(taken_off).mean(dim=0)
        return cls(rules[0].class_counts, mean / EXPECTED_STRENGTH)

    def fit(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Decision:
        """Choose temperature and strength; arguments as in `DecisionRule.fit`."""
        self.calibration.fit(logits, targets, weights)
        rows = torch.bincount(targets, minlength=len(self.class_counts))
        return Decision(
            temperature=float(self.calibration.temperature),
            tau=0.0,
            rule="the largest logit: training made up for the classes' shares, so no correction",
            rarest_rows=int(rows.min()),
            strength=self.calibration.fitted_strength,
        )
