"""Piecewise linear encoding of numbers: how far a value has come through each bin.

Paper: Gorishniy et al. 2022, arXiv:2203.05556, equation 1; bins from quantiles, section 3.2.1.
Differs from the paper: bins are spread over the distinct quantiles, not over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


def quantile_edges(quantiles: Sequence[float], num_bins: int) -> list[float]:
    """Return the edges of bins that hold about as many training rows each.

    A value that many rows share would take up one quantile after the other: of a column that is 0
    in nine rows out of ten, a tenth of the bins would be left for all that distinguishes the rest.
    Bins are therefore spread over the *distinct* quantiles.

    Args:
        quantiles: Sorted quantiles of a column at levels evenly spaced over 0..1, more of them than
            bins.
        num_bins: Largest number of bins.

    Returns:
        Up to `num_bins` + 1 increasing float32 values. A constant column has a single edge, and no
        bin.

    Example:
        >>> quantile_edges([0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 8.0], num_bins=2)
        [0.0, 1.5, 8.0]
    """
    distinct = np.unique(np.asarray(quantiles, dtype=np.float32))
    index = np.linspace(0, len(distinct) - 1, min(num_bins + 1, len(distinct)))
    edges = np.interp(index, np.arange(len(distinct)), distinct)
    return np.unique(edges.astype(np.float32)).tolist()


class PiecewiseLinearEncoding(nn.Module):
    """Encodes a value by its column's bins: 1 for bins below it, its position in its own, then 0.

    As in the paper, the first component is negative below the first edge, and the last one exceeds
    1 above the last edge. A missing value (NaN) is encoded as zeros.

    Args:
        edges: For each of the D columns, its increasing edges, one more than it has bins. Columns
            may differ in their number of bins: T is the largest, and the components that a column
            lacks are 0.

    Raises:
        ValueError: If a column's edges do not increase.

    Example:
        >>> PiecewiseLinearEncoding([[0.0, 1.0, 3.0]])(torch.tensor([[2.0]])).tolist()
        [[[1.0, 0.5]]]
    """

    left: Tensor
    width: Tensor
    lowest: Tensor
    highest: Tensor

    def __init__(self, edges: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.num_bins = max((len(column) - 1 for column in edges), default=0)
        shape = (len(edges), self.num_bins)
        # Components without a bin: (x - 0) / inf is 0 for every finite x.
        left, width = torch.zeros(shape), torch.full(shape, torch.inf)
        lowest, highest = torch.zeros(shape), torch.ones(shape)
        for index, column in enumerate(edges):
            points = torch.tensor(column, dtype=torch.float32)
            bins = len(points) - 1
            if (points.diff() <= 0).any():
                raise ValueError(f"edges need to increase, those of column {index} do not")
            left[index, :bins], width[index, :bins] = points[:-1], points.diff()
            lowest[index, :1], highest[index, max(bins - 1, 0) : bins] = -torch.inf, torch.inf
        self.register_buffer("left", left)  # (D, T)
        self.register_buffer("width", width)
        self.register_buffer("lowest", lowest)
        self.register_buffer("highest", highest)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the encoding (B, D, T) of finite or missing values (B, D)."""
        position = (inputs.unsqueeze(-1) - self.left) / self.width
        encoded = torch.clamp(position, self.lowest, self.highest)
        return encoded.masked_fill(inputs.isnan().unsqueeze(-1), 0.0)
