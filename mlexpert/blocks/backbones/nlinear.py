"""NLinear: a linear map from the values seen to those to come, both less the last value seen.

Paper: Zeng et al. 2023, arXiv:2205.13504, section 3.3.
"""

from __future__ import annotations

from torch import Tensor, nn


class NLinear(nn.Module):
    """Maps the last L values of each series to the next H, by one map for all series.

    Args:
        context: Values that are seen, L.
        horizon: Values that are forecast, H.
        num_outputs: Numbers for each of them, Q: quantiles, say.

    Example:
        >>> import torch
        >>> NLinear(8, 3)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 3, 1])
    """

    def __init__(self, context: int, horizon: int, num_outputs: int = 1) -> None:
        super().__init__()
        self.horizon, self.num_outputs = horizon, num_outputs
        self.linear = nn.Linear(context, horizon * num_outputs)
        # As in the paper's code for DLinear: the forecast begins as the mean of what was seen.
        nn.init.constant_(self.linear.weight, 1.0 / context)

    def forward(self, series: Tensor) -> Tensor:
        """Return the forecasts (B, C, H, Q) of series (B, C, L)."""
        last = series[..., -1:]
        steps = last + self.linear(series - last)
        return steps.unflatten(-1, (self.horizon, self.num_outputs))
