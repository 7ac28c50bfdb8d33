"""DLinear: a moving average and what is left of the series, each by a linear map of its own.

Paper: Zeng et al. 2023, arXiv:2205.13504, section 3.3; the decomposition is that of Wu et al. 2021,
    arXiv:2106.13008, equation 1.
"""

from __future__ import annotations

from torch import Tensor, nn

from mlexpert.blocks.layers.series_decomposition import SeriesDecomposition


class DLinear(nn.Module):
    """Maps the last L values of each series to the next H, by two maps for all series.

    Args:
        context: Values that are seen, L.
        horizon: Values that are forecast, H.
        num_outputs: Numbers for each of them, Q: quantiles, say.
        kernel: Values of the moving average, odd.
    """

    def __init__(
        self, context: int, horizon: int, num_outputs: int = 1, *, kernel: int = 25
    ) -> None:
        super().__init__()
        self.horizon, self.num_outputs = horizon, num_outputs
        self.decomposition = SeriesDecomposition(kernel)
        self.seasonal = nn.Linear(context, horizon * num_outputs)
        self.trend = nn.Linear(context, horizon * num_outputs)
        for linear in (self.seasonal, self.trend):  # as in the paper's code
            nn.init.constant_(linear.weight, 1.0 / context)

    def forward(self, series: Tensor) -> Tensor:
        """Return the forecasts (B, C, H, Q) of series (B, C, L)."""
        seasonal, trend = self.decomposition(series.transpose(1, 2))  # (B, L, C)
        steps = self.seasonal(seasonal.transpose(1, 2)) + self.trend(trend.transpose(1, 2))
        return steps.unflatten(-1, (self.horizon, self.num_outputs))
