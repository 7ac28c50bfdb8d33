"""A series cut into overlapping patches, each projected to a token.

Paper: Nie et al. 2023, arXiv:2211.14730, section 3.1 (PatchTST).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def patches(series: Tensor, *, length: int, stride: int) -> Tensor:
    """Return the patches (..., P, length) of series (..., T).

    The last value is repeated `stride` times, so that the end of the series fills a patch:
    P = (T - length) // stride + 2.

    Args:
        series: (..., T), floats.
        length: Values of a patch.
        stride: Values from one patch to the next.

    Raises:
        ValueError: If the series is shorter than a patch.
    """
    if series.shape[-1] < length:
        raise ValueError(f"a patch of {length} values, but the series has {series.shape[-1]}")
    last = series[..., -1:].expand(*series.shape[:-1], stride)
    return torch.cat([series, last], dim=-1).unfold(-1, length, stride)


class PatchEmbedding(nn.Module):
    """Turns series (..., T), each by itself, into tokens (..., P, D) with learned positions.

    Args:
        dim: Features D of a token.
        series_length: Values T of a series.
        patch: Values of a patch.
        stride: Values from one patch to the next.

    Raises:
        ValueError: If the series is shorter than a patch.
    """

    def __init__(self, dim: int, *, series_length: int, patch: int = 16, stride: int = 8) -> None:
        super().__init__()
        if series_length < patch:
            raise ValueError(f"a patch of {patch} values, but the series has {series_length}")
        self.patch, self.stride = patch, stride
        self.num_patches = (series_length - patch) // stride + 2
        self.project = nn.Linear(patch, dim)
        self.positions = nn.Parameter(0.02 * (2 * torch.rand(self.num_patches, dim) - 1))

    def forward(self, series: Tensor) -> Tensor:
        """Return the tokens (..., P, D) of series (..., T)."""
        return self.project(patches(series, length=self.patch, stride=self.stride)) + self.positions
