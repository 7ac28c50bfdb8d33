"""A first convolution that whitens small patches: fixed filters from the training images.

Its outputs are decorrelated and of equal variance, so the layers behind it start with what a first
layer would spend epochs on learning.

Paper: Jordan 2024, arXiv:2404.00498, section 3.2 (after Coates and Ng 2012).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchWhitening(nn.Module):
    """Projects every patch of standardised images onto its whitened axes, with both signs.

    The filters are buffers and are not trained; both signs of each are there, because an activation
    follows that cuts one of them off.

    Args:
        moments: (C * P * P, C * P * P) mean of p p^T over the patches p of standardised training
            images, flattened in the order channel, row, column.
        channels: Channels C of the images.
        eps: Added to every eigenvalue, so that axes without variance are not blown up.

    Raises:
        ValueError: If `moments` is not the square matrix of square patches of C channels.
    """

    filters: Tensor

    def __init__(
        self, moments: Sequence[Sequence[float]], *, channels: int, eps: float = 5e-4
    ) -> None:
        super().__init__()
        matrix = torch.tensor(moments, dtype=torch.float64)
        size = math.isqrt(len(matrix) // channels)
        if matrix.shape != (channels * size**2,) * 2 or not len(matrix):
            raise ValueError(
                f"moments of shape {tuple(matrix.shape)} are not those of square patches of "
                f"{channels} channels"
            )
        variances, axes = torch.linalg.eigh(matrix)
        whitened = (axes / (variances.clamp_min(0) + eps).sqrt()).T.flip(0)
        filters = torch.cat([whitened, -whitened]).view(-1, channels, size, size).float()
        self.register_buffer("filters", filters)

    @property
    def out_channels(self) -> int:
        """Twice the numbers of a patch, 2 * C * P * P."""
        return len(self.filters)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the projections (B, 2 C P P, H - P + 1, W - P + 1) of images (B, C, H, W)."""
        return F.conv2d(inputs, self.filters)
