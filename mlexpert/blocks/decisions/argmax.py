"""Plain argmax over calibrated probabilities: the decision that maximises accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mlexpert.blocks.decisions.decision import Decision, DecisionRule
from mlexpert.blocks.decisions.temperature import fit_temperature, log_probabilities


class Argmax(DecisionRule):
    """Decides for the most probable class; `PriorAdjusted` with tau = 0.

    A model that was trained with weights w_k says p_k w_k, normalised. It decides by that, which is
    what the weights were for; its probabilities are put back to p_k.

    Args:
        class_counts: (K,) training rows of each class. Kept for the record; no decision depends on
            them.
        class_weight: (K,) weights, above 0, that the classes had in the loss; None for none.

    Example:
        >>> decide = Argmax([90, 10], class_weight=torch.tensor([1.0, 9.0]))
        >>> logits = torch.tensor([[0.8 * 1.0, 0.2 * 9.0]]).log()
        >>> decide.decide(logits).item(), round(decide.probabilities(logits)[0, 1].item(), 3)
        (1, 0.2)
    """

    log_prior: Tensor
    tau: Tensor
    temperature: Tensor
    log_weight: Tensor | None

    def __init__(self, class_counts: Sequence[int], *, class_weight: Tensor | None = None) -> None:
        super().__init__()
        counts = torch.tensor(class_counts, dtype=torch.float64)
        self.register_buffer("log_prior", (counts / counts.sum()).log().float())
        self.register_buffer("tau", torch.tensor(0.0))
        self.register_buffer("temperature", torch.tensor(1.0))
        log_weight = None if class_weight is None else class_weight.double().log().float()
        self.register_buffer("log_weight", log_weight)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the calibrated probabilities (N, K) of logits (N, K) or (N, M, K)."""
        return log_probabilities(logits, self.temperature, self.log_weight).exp()

    def decide(self, logits: Tensor) -> Tensor:
        """Return the chosen class (N,) of logits (N, K) or (N, M, K)."""
        return log_probabilities(logits, self.temperature).argmax(dim=-1)

    @torch.no_grad()
    def fit(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Decision:
        """Choose the temperature; arguments as in `DecisionRule.fit`."""
        self.temperature.fill_(
            fit_temperature(logits, targets, weights, log_weight=self.log_weight)
        )
        rarest = int(torch.bincount(targets, minlength=len(self.log_prior)).min())
        weighted = "plain argmax of the class-weighted probabilities"
        return Decision(
            temperature=float(self.temperature),
            tau=0.0,
            rule="plain argmax: no correction" if self.log_weight is None else weighted,
            rarest_rows=rarest,
        )
