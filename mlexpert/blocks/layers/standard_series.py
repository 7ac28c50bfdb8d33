"""Series by the mean and deviation of each channel in training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class StandardSeries(nn.Module):
    """Standardises series (B, T, C), in which NaN pads.

    Args:
        mean: Of each channel, over the training rows.
        std: Of each channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std).clamp(min=1e-6))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return series (B, T, C), 0 at padding, and the mask (B, T) of real steps."""
        mask = ~inputs[..., 0].isnan()
        x = (inputs.float() - self.mean) / self.std
        return x.masked_fill(~mask.unsqueeze(-1), 0.0), mask
