"""Any of K labels: one temperature for all, and for each a threshold on its probability.

Papers: Guo et al. 2017, arXiv:1706.04599; Lipton et al. 2014, arXiv:1402.1892, for why F1 asks for
another threshold than one half.
Differs from the papers: a threshold leaves 0.5 only where validation has 50 rows of the label, and
for a gain in F1 above its standard error.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mlexpert.blocks.decisions.decision import Decision, DecisionRule
from mlexpert.blocks.decisions.temperature import best_temperature

GRID = tuple(step / 20 for step in range(1, 20))
MIN_ROWS_PER_LABEL = 50


def label_log_likelihood(
    logits: Tensor, targets: Tensor, temperature: Tensor | float = 1.0
) -> Tensor:
    """Return the mean over labels of the log-likelihood (N,) of every row.

    Args:
        logits: (N, K), or (N, M, K) for M members of an ensemble, whose probabilities are averaged.
        targets: (N, K), 0 or 1.
        temperature: Scalar above 0; 1 changes nothing.
    """
    wide = (logits if logits.dtype == torch.float64 else logits.float()) / temperature
    log_p, log_not_p = F.logsigmoid(wide), F.logsigmoid(-wide)
    if wide.ndim == 3:
        log_members = math.log(wide.shape[1])
        log_p = log_p.logsumexp(dim=1) - log_members
        log_not_p = log_not_p.logsumexp(dim=1) - log_members
    return torch.where(targets > 0.5, log_p, log_not_p).mean(dim=1)


def fit_label_temperature(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> float:
    """Choose the temperature that gives the held-out labels the highest likelihood.

    Args:
        logits: (N, K) or (N, M, K) of rows that the model was not trained on.
        targets: (N, K), 0 or 1.
        weights: (N,) how much each row counts, or None where all count alike.

    Returns:
        The temperature; 1.0 where there are no rows.

    Raises:
        ValueError: If a logit is NaN or infinite.
    """
    return best_temperature(
        lambda wide, temperature: label_log_likelihood(wide, targets, temperature), logits, weights
    )


class LabelThresholds(DecisionRule):
    """Gives a row every label whose calibrated probability reaches the label's threshold.

    Args:
        num_labels: Labels, K.
    """

    temperature: Tensor
    thresholds: Tensor

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.tensor(1.0))
        self.register_buffer("thresholds", torch.full((num_labels,), 0.5))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the calibrated probability (N, K) of each label by itself."""
        wide = logits if logits.dtype == torch.float64 else logits.float()
        p = torch.sigmoid(wide / self.temperature)
        return p.mean(dim=1) if p.ndim == 3 else p

    def decide(self, logits: Tensor) -> Tensor:
        """Return the labels (N, K) that hold, as bool."""
        return self.probabilities(logits) >= self.thresholds

    @torch.no_grad()
    def fit(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Decision:
        """Choose the temperature, and a label's threshold where validation has rows enough.

        Args:
            logits: (N, K) or (N, M, K) of the validation rows.
            targets: (N, K), 0 or 1.
            weights: (N,) how much each row counts, or None where all count alike.

        Returns:
            What was chosen and why.
        """
        self.temperature.fill_(fit_label_temperature(logits, targets, weights))
        mass = torch.ones(len(targets), dtype=torch.float64) if weights is None else weights
        holds = targets > 0.5
        rows = holds[mass > 0].sum(dim=0)
        p = self.probabilities(logits)
        self.thresholds.fill_(0.5)
        for label in (rows >= MIN_ROWS_PER_LABEL).nonzero().flatten().tolist():
            self.thresholds[label] = _best_threshold(p[:, label], holds[:, label], mass.double())
        moved = int((self.thresholds != 0.5).sum())
        return Decision(
            temperature=float(self.temperature),
            tau=0.0,
            rule=f"a label is given from a probability of 0.5 on, but for {moved} of "
            f"{len(rows)}, whose F1 on validation is better from another on"
            if moved
            else "a label is given from a probability of 0.5 on",
            rarest_rows=int(rows.min()),
            thresholds=tuple(round(threshold, 2) for threshold in self.thresholds.tolist()),
        )


def _best_threshold(p: Tensor, holds: Tensor, mass: Tensor) -> float:
    """Return the threshold of the best F1, or 0.5 where the gain is within its error.

    Args:
        p: (N,) probabilities of one label.
        holds: (N,) whether it holds; for some rows it does.
        mass: (N,) weights of the rows.
    """
    decided = p.unsqueeze(1) >= torch.tensor(GRID)  # (N, thresholds)
    holds, mass = holds.unsqueeze(1), mass.unsqueeze(1)
    upper, lower = 2 * mass * (decided & holds), mass * (decided.double() + holds.double())
    f1 = upper.sum(dim=0) / lower.sum(dim=0)
    # A ratio of sums moves with each row by about this much; the thresholds are judged on the same
    # rows, so the error is that of their paired difference.
    influence = (upper - f1 * lower) / lower.sum(dim=0)
    half, best = GRID.index(0.5), int(f1.argmax())
    error = (influence[:, best] - influence[:, half]).square().sum().sqrt()
    return GRID[best] if f1[best] - f1[half] > error else 0.5
