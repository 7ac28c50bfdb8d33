"""A small convolutional network that learns images of about 32 pixels in few epochs.

Paper: Jordan 2024, arXiv:2404.00498, sections 3.1 to 3.3: whitened patches, three blocks of two
    convolutions, GELU, batch norm without a learned scale, and convolutions that start as the
    identity.
Differs from the paper: the whitening layer has no bias that is trained for three epochs, and the
last pooling takes the maximum of whatever is left, so that images of any size pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.layers.patch_whitening import PatchWhitening

LOGIT_SCALE = 1 / 9
"""Keeps the first logits small, so that the first steps are not spent on undoing them."""
SMALLEST = 10
"""Pixels of the smallest image that outlives the three poolings: 10 - 1 -> 4 -> 2 -> 1."""


class SpeedNet(nn.Module):
    """Classifies standardised images (B, C, H, W) of 10 pixels and more.

    Args:
        whitening: The fixed first layer.
        num_classes: Outputs K.
        widths: Channels of the three blocks.
        norm_momentum: Share of the running statistics that a batch replaces; large, because the
            training is short.

    Example:
        >>> import torch
        >>> first = PatchWhitening(torch.eye(12).tolist(), channels=3)
        >>> SpeedNet(first, num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        whitening: PatchWhitening,
        *,
        num_classes: int,
        widths: Sequence[int] = (64, 256, 256),
        norm_momentum: float = 0.4,
    ) -> None:
        super().__init__()
        self.whitening = whitening
        ins = [whitening.out_channels, *widths[:-1]]
        self.blocks = nn.Sequential(
            *(SpeedBlock(i, o, norm_momentum) for i, o in zip(ins, widths, strict=True))
        )
        self.head = nn.Linear(widths[-1], num_classes, bias=False)

    def features(self, inputs: Tensor) -> Tensor:
        """Return the pooled features (B, widths[-1])."""
        return self.blocks(F.gelu(self.whitening(inputs))).amax(dim=(2, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (B, K)."""
        return self.head(self.features(inputs)) * LOGIT_SCALE


class SpeedBlock(nn.Module):
    """Two convolutions of 3 by 3, the first of them followed by a pooling to half the size."""

    def __init__(self, in_channels: int, out_channels: int, norm_momentum: float) -> None:
        super().__init__()
        self.conv1 = identity_convolution(in_channels, out_channels)
        self.norm1 = _norm(out_channels, norm_momentum)
        self.conv2 = identity_convolution(out_channels, out_channels)
        self.norm2 = _norm(out_channels, norm_momentum)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (B, out_channels, H / 2, W / 2)."""
        hidden = F.gelu(self.norm1(F.max_pool2d(self.conv1(inputs), 2)))
        return F.gelu(self.norm2(self.conv2(hidden)))


def identity_convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Return a convolution whose first channels give back its input (section 3.2, "dirac")."""
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    nn.init.dirac_(convolution.weight.data[:in_channels])
    return convolution


def _norm(channels: int, momentum: float) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, momentum=momentum)
    norm.weight.requires_grad_(False)
    return norm
