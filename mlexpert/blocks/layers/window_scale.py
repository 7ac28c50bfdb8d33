"""Windows of several columns in standard units: what was seen, what was known ahead, what came."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class WindowScale(nn.Module):
    """Cuts windows (B, L + H, C) and standardises their columns.

    Columns are the targets K, then covariates known up to now P, then those known ahead F.

    Args:
        mean: (C,) of the training rows.
        std: (C,) of the training rows; 0 counts as 1.
        context: Rows that are seen, L.
        num_targets: K.
        num_past: P.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        context: int,
        num_targets: int,
        num_past: int = 0,
    ) -> None:
        super().__init__()
        self.context, self.num_targets, self.num_past = context, num_targets, num_past
        self.num_future = len(mean) - num_targets - num_past
        # float64, so that a column whose values are far from 0 keeps its digits.
        scale = torch.tensor(std, dtype=torch.float64)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))
        self.register_buffer("std", scale.where(scale > 0, 1.0))

    def seen(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what may be looked at, standardised; of the last H rows only what is known ahead.

        Returns:
            Targets (B, L, K); covariates known up to now (B, L, P); and those known ahead
            (B, L + H, F).
        """
        past_end = self.num_targets + self.num_past
        until_now = self._cut(windows[:, : self.context], slice(0, past_end))
        known = self._cut(windows, slice(past_end, None))
        return until_now[..., : self.num_targets], until_now[..., self.num_targets :], known

    def true(self, windows: Tensor) -> Tensor:
        """Return the targets that came next (B, H, K), standardised."""
        return self._cut(windows[:, self.context :], slice(0, self.num_targets))

    def in_units(self, steps: Tensor) -> Tensor:
        """Return standardised targets (..., K, Q) in their own units, float64."""
        own = slice(0, self.num_targets)
        return steps.double() * self.std[own, None] + self.mean[own, None]

    def _cut(self, rows: Tensor, columns: slice) -> Tensor:
        mean, std = self.mean[columns].to(rows.dtype), self.std[columns].to(rows.dtype)
        return ((rows[..., columns] - mean) / std).float()
