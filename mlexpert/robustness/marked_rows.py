"""Rows of a table as an attacker moves them: every value a number, and what is missing marked."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlexpert.data.schema import Column, Numeric


def with_marks(rows: Tensor, columns: tuple[Column, ...]) -> Tensor:
    """Return rows with a number in place of each missing value, and marks of where that is.

    Attacks compute with every value, and would spread a NaN.

    Args:
        rows: (N, D) encoded rows, NaN where a value is missing.
        columns: What each column is.

    Returns:
        (N, 2 D), the marks behind; the rows themselves where nothing is missing.
    """
    missing = rows.isnan()
    if not bool(missing.any()):
        return rows
    middle = [
        one.quantiles[len(one.quantiles) // 2] if isinstance(one, Numeric) else 0.0
        for one in columns
    ]
    filled = torch.where(missing, torch.tensor(middle, dtype=rows.dtype), rows)
    return torch.cat([filled, missing.to(rows.dtype)], dim=1)


def without_marks(rows: Tensor, num_columns: int) -> Tensor:
    """Return the rows (N, D) of which `with_marks` made these, or what an attack made of them."""
    values, marks = rows[:, :num_columns], rows[:, num_columns:]
    return values.masked_fill(marks > 0.5, torch.nan) if marks.shape[1] else values


class OfMarkedRows(nn.Module):
    """A network for tables that takes rows with marks.

    Args:
        network: Takes rows (B, D), NaN where a value is missing.
        num_columns: D.
    """

    def __init__(self, network: nn.Module, num_columns: int) -> None:
        super().__init__()
        self.network, self.num_columns = network, num_columns

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the network says of rows (B, D) or (B, 2 D)."""
        if inputs.requires_grad:
            # Where a column's scale is flat, autograd multiplies 0 by infinity: there is no slope.
            inputs = inputs.clone()
            inputs.register_hook(_finite)
        return self.network(without_marks(inputs, self.num_columns))


def _finite(gradient: Tensor) -> Tensor:
    return torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
