"""Numeric columns as vectors: a linear mix of normal score, piecewise encoding and missingness.

Paper: Gorishniy et al. 2022, arXiv:2203.05556, section 3.2 (encoding, then a linear layer for each
column).
Differs from the paper: the normal score stands beside the encoding, so that a trend over all bins
is one weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.grouped_linear import GroupedLinear
from mlexpert.blocks.layers.piecewise_linear import PiecewiseLinearEncoding, quantile_edges
from mlexpert.blocks.layers.quantile import QuantileNormal


class NumericEmbedding(nn.Module):
    """Embeds every numeric column by itself.

    Values outside the range of training count as its nearest end: nothing is known out there, and a
    single absurd number cannot take over. A missing value counts as the median, and is marked: what
    the mark means is learnt from rows with missing values, and is nothing where training had none.

    Args:
        quantiles: For each of the D columns, its sorted quantiles at levels evenly spaced over
            0..1, as many for each.
        num_bins: Largest number of bins of the encoding.
        size: Features of an embedded column, E.
    """

    lowest: Tensor
    median: Tensor
    highest: Tensor

    def __init__(self, quantiles: Sequence[Sequence[float]], num_bins: int, size: int) -> None:
        super().__init__()
        self.normal = QuantileNormal(quantiles)
        edges = [quantile_edges(column, num_bins) for column in quantiles]
        self.encoding = PiecewiseLinearEncoding(edges)
        self.mix = GroupedLinear(len(quantiles), self.encoding.num_bins + 2, size)
        with torch.no_grad():
            self.mix.weight[:, -1] = 0.0  # the mark
        ends = ("lowest", 0.0), ("median", 0.5), ("highest", 1.0)
        for name, level in ends:
            values = [column[round(level * (len(column) - 1))] for column in quantiles]
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the embeddings (B, D, E) of the values (B, D), NaN where missing."""
        missing = inputs.isnan()
        values = torch.where(missing, self.median, inputs).clamp(self.lowest, self.highest)
        score, mark = self.normal(values).unsqueeze(-1), missing.unsqueeze(-1).to(values.dtype)
        return self.mix(torch.cat([self.encoding(values), score, mark], dim=-1))
