"""Plain argmax over calibrated probabilities: the decision that maximises accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mlexpert.blocks.decisions.decision import Decision, DecisionRule
from mlexpert.blocks.decisions.temperature import fit_temperature, log_probabilities


class Argmax(DecisionRule):
    """Decides for the most probable class; `PriorAdjusted` with tau = 0.

    Args:
        class_counts: (K,) training rows of each class. Kept for the record; no decision depends on
            them.
    """

    log_prior: Tensor
    tau: Tensor
    temperature: Tensor

    def __init__(self, class_counts: Sequence[int]) -> None:
        super().__init__()
        counts = torch.tensor(class_counts, dtype=torch.float64)
        self.register_buffer("log_prior", (counts / counts.sum()).log().float())
        self.register_buffer("tau", torch.tensor(0.0))
        self.register_buffer("temperature", torch.tensor(1.0))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the calibrated probabilities (N, K) of logits (N, K) or (N, M, K)."""
        return log_probabilities(logits, self.temperature).exp()

    def decide(self, logits: Tensor) -> Tensor:
        """Return the chosen class (N,) of logits (N, K) or (N, M, K)."""
        return log_probabilities(logits, self.temperature).argmax(dim=-1)

    @torch.no_grad()
    def fit(self, logits: Tensor, targets: Tensor) -> Decision:
        """Choose the temperature on validation logits (N, K) or (N, M, K) and targets (N,)."""
        self.temperature.fill_(fit_temperature(logits, targets))
        rarest = int(torch.bincount(targets, minlength=len(self.log_prior)).min())
        return Decision(
            temperature=float(self.temperature),
            tau=0.0,
            rule="plain argmax: no correction",
            rarest_rows=rarest,
        )
