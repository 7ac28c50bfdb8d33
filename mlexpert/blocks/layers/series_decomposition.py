"""A series as a trend and what is left: the trend is a moving average.

Papers: Wu et al. 2021, arXiv:2106.13008, equation 1 (Autoformer); Zeng et al. 2023,
arXiv:2205.13504, section 4 (DLinear).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SeriesDecomposition(nn.Module):
    """Splits series (B, T, C) over time; it has no parameter.

    Args:
        kernel: Steps of the moving average, odd: as many before a step as behind it. The first and
            the last value stand for what lies outside.

    Raises:
        ValueError: If it is even.
    """

    def __init__(self, kernel: int = 25) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel={kernel} has no middle; take an odd one")
        self.kernel = kernel

    def forward(self, series: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rest and the trend, each (B, T, C); they add up to the series."""
        reach = self.kernel // 2
        extended = F.pad(series.transpose(1, 2), (reach, reach), mode="replicate")
        trend = F.avg_pool1d(extended, self.kernel, stride=1).transpose(1, 2)
        return series - trend, trend
