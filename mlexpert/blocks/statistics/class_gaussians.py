"""A Gaussian for each class with one covariance for all, from statistics that rows are added to.

Papers: Hayes and Kanan 2020, arXiv:1909.01520, section 3 (streaming linear discriminant analysis);
    Chan, Golub and LeVeque 1983, doi:10.1080/00031305.1983.10483115 (how parts are joined exactly).
Differs from the first paper: the covariance is exactly the pooled one of all rows, in whatever
order; it shrinks towards its mean variance, not towards 1; frequent classes have a larger prior.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.errors import InputError


class ClassGaussians(nn.Module):
    """Counts, means, and the scatter within classes, of all rows that were added.

    Args:
        num_features: Features, F.
        num_classes: Classes, K.

    Attributes:
        counts: (K,) float64, rows of each class, or the sum of their weights.
        means: (K, F) float64.
        scatter: (F, F) float64, sum over rows of d d^T for d the difference to the class mean.
    """

    counts: Tensor
    means: Tensor
    scatter: Tensor

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        wide = torch.float64
        self.register_buffer("counts", torch.zeros(num_classes, dtype=wide))
        self.register_buffer("means", torch.zeros(num_classes, num_features, dtype=wide))
        self.register_buffer("scatter", torch.zeros(num_features, num_features, dtype=wide))

    @property
    def nbytes(self) -> int:
        """Bytes of the statistics: 8 (F^2 + K F + K)."""
        return self.counts.nbytes + self.means.nbytes + self.scatter.nbytes

    def add(self, features: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        """Add rows.

        Args:
            features: (B, F).
            targets: (B,) class indices.
            weights: (B,) how much each row counts. None: 1.
        """
        rows = features.to(self.means.dtype)
        shares = F.one_hot(targets, len(self.counts)).to(rows.dtype)  # (B, K)
        if weights is not None:
            shares = shares * weights[:, None]
        counts = shares.sum(dim=0)
        after = (self.counts + counts).clamp_min(torch.finfo(rows.dtype).tiny)
        means = shares.T @ rows / counts.clamp_min(torch.finfo(rows.dtype).tiny)[:, None]
        inside = rows - means[targets]
        between = (means - self.means) * (counts > 0)[:, None]
        self.scatter += (inside * shares.sum(dim=1, keepdim=True)).T @ inside
        self.scatter += (between * (self.counts * counts / after)[:, None]).T @ between
        self.means += between * (counts / after)[:, None]
        self.counts += counts

    def solve(self, shrinkage: float) -> tuple[Tensor, Tensor]:
        """Return weights (K, F) and biases (K,), float64, of the linear discriminants.

        With S the pooled covariance, shrunk to (1 - e) S + e tr(S) / F I, they are the logarithms
        of the classes' joint densities with the features, up to one term for all classes. A class
        without rows has weights of 0 and the bias of a row that is hardly there.

        Args:
            shrinkage: e, above 0 and at most 1.

        Raises:
            InputError: If no rows differ from the mean of their class.
        """
        covariance = self.scatter / self.counts.sum().clamp_min(torch.finfo(torch.float64).tiny)
        spread = covariance.diagonal().mean()
        if not spread > 0:
            raise InputError(
                "All rows of a class have the same features, so there is no covariance to divide "
                "by; give more rows of each class, or other features."
            )
        shrunk = (1 - shrinkage) * covariance
        shrunk.diagonal().add_(shrinkage * spread)
        solved = torch.cholesky_solve(self.means.T, torch.linalg.cholesky(shrunk)).T
        prior = (self.counts / self.counts.sum()).clamp_min(torch.finfo(torch.float32).tiny).log()
        return solved, prior - (self.means * solved).sum(dim=1) / 2
