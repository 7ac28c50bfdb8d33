"""Numeric columns to a normal distribution, through the quantiles of the training rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class QuantileNormal(nn.Module):
    """Maps every column to the normal score of its quantile level.

    A value that was frequent in training holds a stretch of levels, and is mapped to the middle of
    it. The function jumps there, which keeps "exactly zero" apart from "a little more than zero".

    Args:
        quantiles: For each of the D columns, its sorted quantiles at levels evenly spaced over
            0..1: two or more, as many for each column. They need to be float32 values if ties are
            to be recognised.
        clip: Levels are kept this far from 0 and 1, whose normal scores are infinite. None is half
            a step of the grid, so that the ends are not far out of everything else.

    Raises:
        ValueError: If a column has fewer than two quantiles or another number than the first one.

    Example:
        >>> QuantileNormal([[0.0, 1.0, 4.0]])(torch.tensor([[1.0]])).item()
        0.0
    """

    quantiles: Tensor

    def __init__(self, quantiles: Sequence[Sequence[float]], clip: float | None = None) -> None:
        super().__init__()
        lengths = {len(column) for column in quantiles} or {2}
        if len(lengths) > 1 or min(lengths) < 2:
            raise ValueError(
                "every column needs the same number of quantiles, two or more; "
                f"got {sorted(lengths)}"
            )
        table = torch.tensor(quantiles, dtype=torch.float32).reshape(len(quantiles), *lengths)
        self.register_buffer("quantiles", table)  # (D, Q)
        self.clip = clip

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the normal scores (B, D) of the values (B, D); a missing value (NaN) gets 0."""
        steps = self.quantiles.shape[1] - 1
        values = inputs.T.contiguous()  # (D, B): a row of sorted quantiles meets a row of values
        first = torch.searchsorted(self.quantiles, values)  # quantiles below the value
        after = torch.searchsorted(self.quantiles, values, right=True)  # quantiles up to the value
        left = (after - 1).clamp(0, steps - 1)
        low, high = self.quantiles.gather(1, left), self.quantiles.gather(1, left + 1)
        share = ((values - low) / (high - low)).clamp(0.0, 1.0)
        level = torch.where(after > first, (first + after - 1) / 2, left + share) / steps
        clip = 0.5 / (steps + 1) if self.clip is None else self.clip
        scores = torch.special.ndtri(level.clamp(clip, 1.0 - clip))
        return scores.masked_fill(values.isnan(), 0.0).T
