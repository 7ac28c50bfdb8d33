"""Ridge regression on one-hot targets from sums over rows, with its penalty in closed form.

The sums do not depend on the order in which rows came, nor on how they were cut into tasks, and so
neither does the solution: it is that of all rows at once.

Papers: McDonnell et al. 2023, arXiv:2307.02251, equations 7 to 9 (the sums and the solution);
    Golub, Heath and Wahba 1979, doi:10.1080/00401706.1979.10489751, equation 1.4 (generalised
    cross-validation).
Differs from the first paper: the penalty minimises generalised cross-validation, which is a
function of the same sums, where the paper holds out rows of each task.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GRID = torch.logspace(-8, 2, 41, dtype=torch.float64)
"""Penalties that are tried, in units of the mean squared feature: a quarter of a decade apart."""
ROUNDING = 1e-8
"""Share of the targets' sum of squares below which a residual is not told from 0."""


class RidgeStatistics(nn.Module):
    """Sums over rows of outer products of features with themselves and with one-hot targets.

    Args:
        num_features: Features, P.
        num_classes: Classes, K.

    Attributes:
        gram: (P, P) float64, sum of h h^T; G in the paper.
        moments: (P, K) float64, sum of h y^T; C in the paper.
        total: Scalar float64, number of rows, or the sum of their weights.
    """

    gram: Tensor
    moments: Tensor
    total: Tensor

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        wide = torch.float64
        self.register_buffer("gram", torch.zeros(num_features, num_features, dtype=wide))
        self.register_buffer("moments", torch.zeros(num_features, num_classes, dtype=wide))
        self.register_buffer("total", torch.zeros((), dtype=wide))

    @property
    def nbytes(self) -> int:
        """Bytes of the sums: 8 P (P + K), and 8 for the total."""
        return self.gram.nbytes + self.moments.nbytes + self.total.nbytes

    def add(self, features: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        """Add rows; products are taken in float64, as the smallest eigenvalues count.

        Args:
            features: (B, P).
            targets: (B,) class indices.
            weights: (B,) how much each row counts. None: 1.
        """
        rows = features.to(self.gram.dtype)
        weighted = rows if weights is None else rows * weights[:, None]
        self.gram += weighted.T @ rows
        self.moments += weighted.T @ F.one_hot(targets, self.moments.shape[1]).to(rows.dtype)
        self.total += len(targets) if weights is None else weights.sum()

    def solve(self, penalty: float | None = None) -> tuple[Tensor, float]:
        """Return the weights (K, P) float64 of the ridge solution, and its penalty.

        Args:
            penalty: Lambda, in units of a squared feature summed over rows, as in scikit-learn.
                None: that of `GRID` with the least generalised cross-validation error.
        """
        if penalty is not None:
            regular = self.gram.clone()
            regular.diagonal().add_(penalty)
            factor, failed = torch.linalg.cholesky_ex(regular)
            if not failed:  # it does where a small penalty is lost in rounding
                return torch.cholesky_solve(self.moments, factor).T, penalty
        values, vectors = torch.linalg.eigh(self.gram)
        values = values.clamp_min(0.0)  # below by rounding alone
        turned = vectors.T @ self.moments
        best = self._cross_validated(values, turned) if penalty is None else penalty
        return (vectors @ (turned / (values + best)[:, None])).T, best

    def _cross_validated(self, values: Tensor, turned: Tensor) -> float:
        """Return the best penalty, given the eigenvalues s (P,) of G and A = U^T C (P, K).

        The squared residuals of penalty l are total - sum A^2 (s + 2 l) / (s + l)^2, and the
        degrees of freedom sum s / (s + l).
        """
        # Nothing was added, or zeros alone: any penalty does.
        scale = values.mean() if values.any() else values.new_ones(())
        penalties = GRID.to(values.device) * scale
        damped = values + penalties[:, None]  # (L, P)
        power = turned.square().sum(dim=1)
        residual = self.total - (power * (damped + penalties[:, None]) / damped.square()).sum(1)
        freedom = (values / damped).sum(dim=1)
        error = residual / (self.total - freedom).square()
        # What interpolates the rows leaves a residual, and a freedom, of nothing but rounding.
        is_known = residual > ROUNDING * self.total
        best = error.masked_fill(~is_known, torch.inf).argmin()
        return float(penalties[best] if is_known.any() else penalties[-1])
