"""Logit adjustment after training: decisions that treat classes alike.

The model is trained on the data as they are. Its probabilities stay those of the natural prior;
only the choice of a class is corrected, by tau times the logarithm of the training prior. tau = 0
is plain argmax, tau = 1 is the choice that minimises the balanced error where the probabilities are
right.

Papers: Menon et al. 2021, arXiv:2007.07314, equation 8 with section 4.2; Guo et al. 2017,
arXiv:1706.04599.
Differs from the paper: tau is tuned only where validation has 50 rows of every class, and leaves 1
only for a gain above its standard error.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mlexpert.blocks.decisions.decision import Decision, DecisionRule
from mlexpert.blocks.decisions.temperature import fit_temperature, log_probabilities
from mlexpert.blocks.decisions.tuning import MIN_ROWS_PER_CLASS, rarest_class, tuned

TAU_GRID = tuple(step / 4 for step in range(9))


class PriorAdjusted(DecisionRule):
    """Decides by probability over prior, both known from data.

    Args:
        class_counts: (K,) training rows of each class as they count in training, all above 0.

    Raises:
        ValueError: If a class has no training rows.

    Example:
        >>> decide = PriorAdjusted([90, 10])
        >>> logits = torch.tensor([[0.8, 0.2]]).log()  # class 1: twice as likely as its prior
        >>> decide.decide(logits).item(), round(decide.probabilities(logits)[0, 1].item(), 3)
        (1, 0.2)
    """

    log_prior: Tensor
    tau: Tensor
    temperature: Tensor

    def __init__(self, class_counts: Sequence[float]) -> None:
        super().__init__()
        counts = torch.tensor(class_counts, dtype=torch.float64)
        if not len(counts) or counts.min() <= 0:
            raise ValueError(
                f"every class needs at least one training row, got counts {list(class_counts)}"
            )
        self.register_buffer("log_prior", (counts / counts.sum()).log().float())
        self.register_buffer("tau", torch.tensor(1.0))
        self.register_buffer("temperature", torch.tensor(1.0))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the calibrated probabilities (N, K) under the natural prior.

        Args:
            logits: (N, K), or (N, M, K) for the members of an ensemble.
        """
        return log_probabilities(logits, self.temperature).exp()

    def decide(self, logits: Tensor) -> Tensor:
        """Return the chosen class (N,) of logits (N, K) or (N, M, K)."""
        return self._decided(log_probabilities(logits, self.temperature), self.tau)

    def _decided(self, log_p: Tensor, tau: Tensor | float) -> Tensor:
        return (log_p - tau * self.log_prior).argmax(dim=-1)

    @torch.no_grad()
    def fit(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Decision:
        """Choose the temperature, and tau where validation has rows enough.

        Args:
            logits: (N, K) or (N, M, K) of the validation rows.
            targets: (N,) class indices.
            weights: (N,) how much each row counts, or None where all count alike.

        Returns:
            What was chosen and why.
        """
        self.temperature.fill_(fit_temperature(logits, targets, weights))
        size = len(self.log_prior)
        rarest = rarest_class(targets, weights, size)
        tau, why = 1.0, f"the rarest class has {rarest} validation rows, "
        why += f"and tau is tuned from {MIN_ROWS_PER_CLASS} upwards"
        if rarest >= MIN_ROWS_PER_CLASS:
            log_p = log_probabilities(logits, self.temperature)
            decided = {tau: self._decided(log_p, tau) for tau in TAU_GRID}
            tau, gain = tuned(decided, targets, weights, default=1.0, num_classes=size)
            why = f"balanced accuracy on validation is {gain:.3f} above that of tau = 1"
            if tau == 1.0:
                why = f"no other of {len(TAU_GRID)} values was better by more than a standard error"
        self.tau.fill_(tau)
        return Decision(
            temperature=float(self.temperature),
            tau=tau,
            rule=f"tau = {tau:g}: {why}",
            rarest_rows=rarest,
        )
