"""Per-channel standardisation of images, as the first layer of a model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

MIN_STD = 1e-3
"""Floor of the deviation: a channel that is constant in training is centred, and not blown up."""


class ImageNormalize(nn.Module):
    """Standardises every channel by the mean and deviation of the training images.

    It stands inside the model, so attacks, exports and predictions all speak in pixels in [0, 1].

    Args:
        mean: (C,) mean of each channel, in [0, 1].
        std: (C,) standard deviation of each channel, in [0, 1].

    Raises:
        ValueError: If `mean` and `std` differ in length, or are empty.

    Example:
        >>> ImageNormalize(mean=[0.5], std=[0.25])(torch.ones(1, 1, 1, 1)).item()
        2.0
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not len(mean):
            raise ValueError(
                f"mean and std need one value per channel, got {len(mean)} and {len(std)}"
            )
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).clamp_min(MIN_STD))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the images (B, C, H, W) standardised; they come in [0, 1]."""
        return (inputs - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)
