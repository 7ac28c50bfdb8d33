"""Ridge regression from features to several outputs, from sums over rows alone.

Sums of training rows give the solution for every penalty, sums of other rows its error on these: no
row is looked at twice.

Paper: Hoerl and Kennard 1970, doi:10.1080/00401706.1970.10488634, equation 2.1; the path over
    penalties by one eigendecomposition is Hastie et al. 2009, The Elements of Statistical Learning,
    equation 3.47.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PENALTIES = torch.logspace(-6, 2, 17, dtype=torch.float64)
"""That are tried, in units of the mean eigenvalue of the features' products."""


class RidgeMap(nn.Module):
    """Sums over rows of products of features, and of features with outputs.

    Args:
        num_features: P.
        num_outputs: M.
    """

    gram: Tensor
    moments: Tensor
    squares: Tensor
    count: Tensor

    def __init__(self, num_features: int, num_outputs: int) -> None:
        super().__init__()
        wide = torch.float64
        self.register_buffer("gram", torch.zeros(num_features, num_features, dtype=wide))
        self.register_buffer("moments", torch.zeros(num_features, num_outputs, dtype=wide))
        self.register_buffer("squares", torch.zeros((), dtype=wide))
        self.register_buffer("count", torch.zeros((), dtype=wide))

    def add(self, features: Tensor, outputs: Tensor) -> None:
        """Add rows: features (B, P), outputs (B, M)."""
        rows, wanted = features.double(), outputs.double()
        self.gram += rows.T @ rows
        self.moments += rows.T @ wanted
        self.squares += wanted.square().sum()
        self.count += wanted.numel()

    def error(self, weight: Tensor) -> float:
        """Return the mean squared error of a map (P, M) on the rows that were added."""
        total = self.squares - 2 * (weight * self.moments).sum()
        return float((total + (weight * (self.gram @ weight)).sum()) / self.count)

    def solve(self, judge: RidgeMap) -> tuple[Tensor, float]:
        """Return the map (P, M), float64, whose penalty is the best on other rows, and the penalty.

        Args:
            judge: The sums of rows that are not among these.

        Returns:
            The map, and its penalty in units of the mean eigenvalue.
        """
        values, vectors = torch.linalg.eigh(self.gram)
        values = values.clamp_min(0.0)  # below by rounding alone
        scale = values.mean() if values.any() else values.new_ones(())
        turned = vectors.T @ self.moments
        best, least, chosen = torch.zeros_like(self.moments), judge.error(0 * self.moments), 0.0
        for penalty in PENALTIES.tolist():
            weight = vectors @ (turned / (values + penalty * scale)[:, None])
            error = judge.error(weight)
            if error < least:
                best, least, chosen = weight, error, penalty
        return best, chosen
