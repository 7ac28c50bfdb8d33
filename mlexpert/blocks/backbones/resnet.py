"""The small residual network for images of CIFAR's size.

Paper: He et al. 2016, arXiv:1512.03385, section 4.2: three stages of n blocks, depth 6n + 2,
shortcuts without parameters (option A).
Differs from the paper: `width` scales every stage, and images above 64 pixels get a strided stem.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.layers.small_image_stem import image_stem


class ResNet(nn.Module):
    """Classifies images: three stages of residual blocks, average pooling, a linear head.

    Args:
        in_channels: Channels C of the images.
        num_classes: Outputs K; 0 gives the features themselves.
        image_size: Height and width in pixels, for the choice of the stem.
        depth: Weighted layers, 6n + 2: 8, 14, 20, 32, 44, 56 ...
        width: Channels of the first stage; the paper has 16. The stages have `width` times 1, 2 and
            4.

    Raises:
        ValueError: If `depth` is not 6n + 2 with n >= 1.

    Example:
        >>> import torch
        >>> model = ResNet(in_channels=3, num_classes=10, image_size=(32, 32), depth=8)
        >>> model(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int],
        depth: int = 20,
        width: int = 16,
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6n + 2 (8, 14, 20, 26, 32, ...), got {depth}")
        num_blocks = (depth - 2) // 6
        self.num_features = 4 * width
        self.stem = image_stem(in_channels, width, image_size)
        self.stages = nn.Sequential(
            _stage(width, width, num_blocks, stride=1),
            _stage(width, 2 * width, num_blocks, stride=2),
            _stage(2 * width, 4 * width, num_blocks, stride=2),
        )
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, inputs: Tensor) -> Tensor:
        """Return the pooled features (B, 4 * width) of standardised images (B, C, H, W)."""
        return self.stages(self.stem(inputs)).mean(dim=(2, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (B, K) of standardised images (B, C, H, W)."""
        return self.head(self.features(inputs))


class ResidualBlock(nn.Module):
    """Adds two 3 by 3 convolutions to a shortcut that has no parameters.

    Where the shape changes, the shortcut takes every second pixel and pads the new channels with
    zeros.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.stride = stride
        self.extra_channels = out_channels - in_channels

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the block's output (B, out_channels, H / stride, W / stride)."""
        shortcut = inputs[:, :, :: self.stride, :: self.stride] if self.stride > 1 else inputs
        if self.extra_channels:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.extra_channels))
        outputs = F.relu(self.norm1(self.conv1(inputs)), inplace=True)
        return F.relu(self.norm2(self.conv2(outputs)) + shortcut, inplace=True)


def _stage(in_channels: int, out_channels: int, num_blocks: int, *, stride: int) -> nn.Sequential:
    first = ResidualBlock(in_channels, out_channels, stride=stride)
    rest = [ResidualBlock(out_channels, out_channels, stride=1) for _ in range(num_blocks - 1)]
    return nn.Sequential(first, *rest)
