"""Decisions of the smallest expected cost, where errors cost differently.

Probabilities p_k and costs C[k, j] of deciding for j what is of class k settle the decision: the j
of the smallest sum over k of p_k C[k, j]. There is nothing to tune, and no weight or resampling can
do better where the probabilities are right.

Paper: Elkan 2001, "The Foundations of Cost-Sensitive Learning", IJCAI, equation 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlexpert.blocks.decisions.calibration import Calibration
from mlexpert.blocks.decisions.decision import Decision, DecisionRule


class CostSensitive(DecisionRule):
    """Decides by the smallest expected cost under the natural probabilities.

    Args:
        cost: (K, K) of true class (row) and decided class (column), 0 or more, in any unit. One for
            every error makes this plain argmax.
        log_weight: (K,) as in `Calibration`; None where training was on the natural prior.

    Raises:
        ValueError: If the costs are not square, negative, or not finite.

    Example:
        >>> decide = CostSensitive(torch.tensor([[0.0, 1.0], [9.0, 0.0]]))  # a miss costs nine
        >>> decide.decide(torch.tensor([[0.8, 0.2], [0.95, 0.05]]).log()).tolist()
        [1, 0]
    """

    cost: Tensor

    def __init__(self, cost: Tensor, log_weight: Tensor | None = None) -> None:
        super().__init__()
        wide = cost.double()
        if wide.ndim != 2 or len(wide) != wide.shape[1]:
            raise ValueError(f"costs have shape {tuple(cost.shape)}; they take (K, K)")
        if not torch.isfinite(wide).all() or (wide < 0).any():
            raise ValueError(f"costs are finite and 0 or more, got {cost.tolist()}")
        self.register_buffer("cost", wide.float())
        self.calibration = Calibration(log_weight)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the natural probabilities (N, K) of logits (N, K) or (N, M, K)."""
        return self.calibration.probabilities(logits)

    def decide(self, logits: Tensor) -> Tensor:
        """Return the chosen class (N,) of logits (N, K) or (N, M, K)."""
        p = self.probabilities(logits)
        return (p @ self.cost.to(p.dtype)).argmin(dim=-1)

    def unfitted(self) -> CostSensitive:
        """Return the rule at temperature 1 and the expected strength."""
        return CostSensitive(self.cost, self.calibration.log_weight)

    def fit(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Decision:
        """Choose temperature and strength; arguments as in `DecisionRule.fit`."""
        self.calibration.fit(logits, targets, weights)
        errors = 1 - torch.eye(len(self.cost))
        return Decision(
            temperature=float(self.calibration.temperature),
            tau=0.0,
            rule="the most probable class"
            if torch.equal(self.cost, errors)
            else "the smallest expected cost under the costs that were given",
            rarest_rows=int(torch.bincount(targets, minlength=len(self.cost)).min()),
            strength=self.calibration.fitted_strength,
        )
