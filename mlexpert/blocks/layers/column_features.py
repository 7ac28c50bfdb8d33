"""A table's columns as features that nobody trains: normal scores, what is missing, categories."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.layers.category_embedding import known_codes
from mlexpert.blocks.layers.quantile import QuantileNormal


class ColumnFeatures(nn.Module):
    """Returns two features of a number, and one for each code of a category.

    Args:
        columns: What each of the D input columns is, as for `TabularEnsemble`: the sorted training
            quantiles of a number, or the number of a category's codes.

    Attributes:
        out_features: Features, F.

    Example:
        >>> ColumnFeatures([[0.0, 1.0, 2.0], 3])(torch.tensor([[1.0, 2.0]])).tolist()
        [[0.0, 0.0, 0.0, 0.0, 1.0]]
    """

    num_codes: Tensor

    def __init__(self, columns: Sequence[Sequence[float] | int]) -> None:
        super().__init__()
        self.numeric = [i for i, column in enumerate(columns) if not isinstance(column, int)]
        self.categorical = [i for i, column in enumerate(columns) if isinstance(column, int)]
        self.numbers = QuantileNormal([column for column in columns if not isinstance(column, int)])
        self.codes = [column for column in columns if isinstance(column, int)]
        # Follows from the columns, so no file needs to hold it.
        self.register_buffer("num_codes", torch.tensor(self.codes).long(), persistent=False)
        self.out_features = 2 * len(self.numeric) + sum(self.codes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return features (B, F) of rows (B, D): numbers, NaN where missing, and category codes."""
        numbers = inputs[:, self.numeric]
        codes = known_codes(inputs[:, self.categorical], self.num_codes)
        one_hot = [F.one_hot(code, size) for code, size in zip(codes.T, self.codes, strict=True)]
        return torch.cat([self.numbers(numbers), numbers.isnan(), *one_hot], dim=1).to(inputs.dtype)
