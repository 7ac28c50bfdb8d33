"""Decisions between many classes by macro F1: the prior taken off as far as that metric asks.

F1 punishes a wrongly claimed rare class where balanced accuracy does not, so it asks for less of
the correction by the prior. Each class is decided for by its probability over its prior to the
power tau, with the tau of the best macro F1 on validation.

Paper: Menon et al. 2021, arXiv:2007.07314, equation 8, for the form of the decision.
Differs from the paper: tau is tuned by F1, only where validation has 50 rows of every class, and
leaves 1 only for a gain above its standard error.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mlexpert.blocks.decisions.calibration import Calibration
from mlexpert.blocks.decisions.decision import Decision, DecisionRule
from mlexpert.blocks.decisions.prior_adjusted import MIN_ROWS_PER_CLASS, TAU_GRID


class MacroF1(DecisionRule):
    """Decides by probability over prior to the power tau, tuned by macro F1.

    Args:
        class_counts: (K,) training rows of each class, all above 0.
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

    def __init__(self, class_counts: Sequence[int], *, log_weight: Tensor | None = None) -> None:
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
        """Return the rule at temperature, strength and tau 1."""
        return MacroF1(self.class_counts, log_weight=self.calibration.log_weight)

    @torch.no_grad()
    def fit(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Decision:
        """Choose temperature and strength, and tau where validation has rows enough.

        Args:
            logits: (N, K) or (N, M, K) of the validation rows.
            targets: (N,) class indices.
            weights: (N,) how much each row counts, or None where all count alike.

        Returns:
            What was chosen and why.
        """
        self.calibration.fit(logits, targets, weights)
        mass = torch.ones(len(targets), dtype=torch.float64) if weights is None else weights
        counts = torch.bincount(targets[mass > 0], minlength=len(self.class_counts))
        rarest = int(counts.min())
        if rarest < MIN_ROWS_PER_CLASS:
            tau = 1.0
            rule = f"tau = 1: the rarest class has {rarest} validation rows, "
            rule += f"and tau is tuned from {MIN_ROWS_PER_CLASS} upwards"
        else:
            log_p = self.calibration.log_probabilities(logits)
            tau, rule = self._tune(log_p, targets, mass.double())
        self.tau.fill_(tau)
        return Decision(
            temperature=float(self.calibration.temperature),
            tau=tau,
            rule=rule,
            rarest_rows=rarest,
            strength=self.calibration.fitted_strength,
        )

    def _at(self, log_p: Tensor, tau: float) -> Tensor:
        return (log_p - tau * self.log_prior).argmax(dim=-1)

    def _tune(self, log_p: Tensor, targets: Tensor, mass: Tensor) -> tuple[float, str]:
        """Return the tau of the best macro F1, or 1 where the gain is within its error."""
        size = len(self.class_counts)
        scored = {tau: _scored(self._at(log_p, tau), targets, mass, size) for tau in TAU_GRID}
        best = max(TAU_GRID, key=lambda tau: (scored[tau][0], -abs(tau - 1.0)))
        gain = scored[best][0] - scored[1.0][0]
        # Both are judged on the same rows, so the error is that of the paired difference.
        error = float((scored[best][1] - scored[1.0][1]).square().sum().sqrt())
        if gain <= error:
            why = f"no other of {len(TAU_GRID)} values was better by more than a standard error"
            return 1.0, f"tau = 1: {why}"
        return best, f"tau = {best:g}: macro F1 on validation is {gain:.3f} above that of tau = 1"


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
