"""Every window normalised by itself, and its forecast brought back: levels may drift.

Paper: Kim et al. 2022, "Reversible instance normalization for accurate time-series forecasting
against distribution shift" (ICLR), equations 2 and 3.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

EPSILON = 1e-5


class Levels(NamedTuple):
    """What a window was normalised by."""

    mean: Tensor
    """(B, 1, C)."""
    deviation: Tensor
    """(B, 1, C), standard deviation."""


class ReversibleInstanceNorm(nn.Module):
    """Normalises windows (B, T, C) over time and brings back forecasts (B, horizon, C).

    Args:
        num_series: C, where each series is then scaled and shifted by learned numbers; or None.
    """

    def __init__(self, num_series: int | None = None) -> None:
        super().__init__()
        self.scale = None if num_series is None else nn.Parameter(torch.ones(num_series))
        self.shift = None if num_series is None else nn.Parameter(torch.zeros(num_series))

    def normalise(self, series: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Levels]:
        """Return the normalised windows (B, T, C) and what they were normalised by.

        Args:
            series: (B, T, C).
            mask: (B, T), True where values count; None where all do. A window without any has mean
                0.
        """
        counted = torch.ones_like(series[..., :1]) if mask is None else mask.unsqueeze(-1)
        counted = counted.to(series.dtype)
        num = counted.sum(dim=1, keepdim=True).clamp(min=1)
        # As in the paper's code no gradient passes: a level is a measurement, not a feature.
        with torch.no_grad():
            mean = (series * counted).sum(dim=1, keepdim=True) / num
            variance = ((series - mean).square() * counted).sum(dim=1, keepdim=True) / num
            levels = Levels(mean, (variance + EPSILON).sqrt())
        normed = (series - levels.mean) / levels.deviation
        if self.scale is not None and self.shift is not None:
            normed = normed * self.scale + self.shift
        return normed, levels

    def denormalise(self, forecast: Tensor, levels: Levels) -> Tensor:
        """Return forecasts (B, horizon, C) in the units of the windows they continue."""
        if self.scale is not None and self.shift is not None:
            # The paper's code divides by scale + epsilon^2, so that a scale of 0 stays finite.
            forecast = (forecast - self.shift) / (self.scale + EPSILON**2)
        return forecast * levels.deviation + levels.mean
