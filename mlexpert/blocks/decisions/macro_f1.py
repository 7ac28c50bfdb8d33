"""Decisions between many classes by macro F1: the prior taken off as far as that metric asks.

F1 punishes a wrongly claimed rare class where balanced accuracy does not, so it asks for less of
the correction by the prior. Each class is decided for by its probability over its prior to the
power tau, with the tau of the highest macro F1 on validation if the probabilities are right. That
asks no labels, so few rows of a rare class are enough; where validation has 50 rows of every class,
its labels choose another for a gain above two standard errors.

Papers: Menon et al. 2021, arXiv:2007.07314, equation 8, for the form of the decision; Lipton et al.
2014, arXiv:1402.1892, for the F1 that probabilities promise.
Differs from the papers: tau is chosen by macro F1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mlexpert.blocks.decisions.calibration import Calibration
from mlexpert.blocks.decisions.decision import Decision, DecisionRule
from mlexpert.blocks.decisions.prior_adjusted import TAU_GRID
from mlexpert.blocks.decisions.tuning import F1_ERRORS, MIN_ROWS_PER_CLASS, rarest_class


class MacroF1(DecisionRule):
    """Decides by probability over prior to the power tau, tuned by macro F1.

    Args:
        class_counts: (K,) training rows of each class as they count in training, all above 0.
        log_weight: (K,) as in `Calibration`; None where training was on the natural prior.

    Raises:
        ValueError: If a class has no training rows.

    Example:
        >>> decide = MacroF1([90, 10])  # not fitted yet: tau = 1
        >>> decide.decide(torch.tensor([[0.8, 0.2], [0.95, 0.05]]).log()).tolist()
        [1, 0]
    """

    log_prior: Tensor
    tau: Tensor

    def __init__(self, class_counts: Sequence[float], *, log_weight: Tensor | None = None) -> None:
        super().__init__()
        counts = torch.tensor(class_counts, dtype=torch.float64)
        if not len(counts) or counts.min() <= 0:
            raise ValueError(
                f"every class needs at least one training row, got counts {list(class_counts)}"
            )
        self.class_counts = tuple(class_counts)
        self.register_buffer("log_prior", (counts / counts.sum()).log().float())
        self.register_buffer("tau", torch.tensor(1.0))
        self.calibration = Calibration(log_weight)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the natural probabilities (N, K) of logits (N, K) or (N, M, K)."""
        return self.calibration.probabilities(logits)

    def decide(self, logits: Tensor) -> Tensor:
        """Return the chosen class (N,) of logits (N, K) or (N, M, K)."""
        return self._at(self.calibration.log_probabilities(logits), float(self.tau))

    def unfitted(self) -> MacroF1:
        """Return the rule at temperature and tau 1, and the expected strength."""
        return MacroF1(self.class_counts, log_weight=self.calibration.log_weight)

    @torch.no_grad()
    def fit(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Decision:
        """Choose temperature and strength, and tau by the probabilities or, with many rows, labels.

        Args:
            logits: (N, K) or (N, M, K) of the validation rows.
            targets: (N,) class indices.
            weights: (N,) how much each row counts, or None where all count alike.

        Returns:
            What was chosen and why.
        """
        self.calibration.fit(logits, targets, weights)
        rarest = rarest_class(targets, weights, len(self.class_counts))
        log_p = self.calibration.log_probabilities(logits)
        mass = (torch.ones(len(targets)) if weights is None else weights).double()
        start = self._promised(log_p, mass) if mass.any() else 1.0
        tau, why = start, f"the rarest class has {rarest} validation rows, "
        why += f"and labels choose tau from {MIN_ROWS_PER_CLASS} upwards"
        if rarest >= MIN_ROWS_PER_CLASS:
            tau, why = self._tune(log_p, targets, mass, start)
        best = " is the best for macro F1 if the probabilities are right" if tau == start else ""
        self.tau.fill_(tau)
        return Decision(
            temperature=float(self.calibration.temperature),
            tau=tau,
            rule=f"tau = {tau:g}{best}: {why}",
            rarest_rows=rarest,
            strength=self.calibration.fitted_strength,
        )

    def _at(self, log_p: Tensor, tau: float) -> Tensor:
        return (log_p - tau * self.log_prior).argmax(dim=-1)

    def _promised(self, log_p: Tensor, mass: Tensor) -> float:
        """Return the tau of the highest macro F1 if the probabilities are right."""
        p = log_p.double().exp()
        true = mass @ p  # (K,) rows of each class that are to be expected

        def f1(tau: float) -> float:
            decided = F.one_hot(self._at(log_p, tau), len(true)) * mass.unsqueeze(1)
            return float((2 * (p * decided).sum(dim=0) / (true + decided.sum(dim=0))).mean())

        return max(TAU_GRID, key=lambda tau: (f1(tau), -abs(tau - 1.0)))

    def _tune(
        self, log_p: Tensor, targets: Tensor, mass: Tensor, start: float
    ) -> tuple[float, str]:
        """Return the tau of the best macro F1, or `start` where the gain is within its error."""
        size = len(self.class_counts)
        scored = {tau: _scored(self._at(log_p, tau), targets, mass, size) for tau in TAU_GRID}
        best = max(TAU_GRID, key=lambda tau: (scored[tau][0], -abs(tau - start)))
        gain = scored[best][0] - scored[start][0]
        # Both are judged on the same rows, so the error is that of the paired difference.
        error = float((scored[best][1] - scored[start][1]).square().sum().sqrt())
        if gain <= F1_ERRORS * error:
            errors = f"{F1_ERRORS:g} standard errors"
            return start, f"no other of {len(TAU_GRID)} values was better by more than {errors}"
        return best, f"macro F1 on validation is {gain:.3f} above that of tau = {start:g}"


def _scored(
    decisions: Tensor, targets: Tensor, mass: Tensor, num_classes: int
) -> tuple[float, Tensor]:
    """Return the macro F1, and by how much each row (N,) moves it."""

    def per_class(values: Tensor, classes: Tensor) -> Tensor:
        return values.new_zeros(num_classes).index_add_(0, classes, values)

    hit = decisions == targets
    upper = 2 * per_class(mass * hit, targets)
    lower = per_class(mass, targets) + per_class(mass, decisions)  # above 0: every class has rows
    f1 = upper / lower
    of_true, of_decided = (f1 / lower)[targets], (f1 / lower)[decisions]
    moved = mass * (2 * hit / lower[targets] - of_true - of_decided) / num_classes
    return float(f1.mean()), moved
