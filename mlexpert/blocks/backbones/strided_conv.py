"""Two strided convolutions and a hidden layer: a small network for small grey images."""

from __future__ import annotations

from torch import Tensor, nn


class StridedConvNet(nn.Sequential):
    """The network on which fast adversarial training of digits is compared.

    Paper: Wong et al. 2020, arXiv:2001.03994, section 5.1 (two convolutions of 4 x 4 pixels with
    stride 2, of 16 and 32 filters, and a hidden layer of 100; here twice as many of each).

    Args:
        in_channels: Channels of the images.
        num_classes: Outputs, K.
        image_size: Height and width in pixels, at least 8.
        width: Filters of the first convolution; the second has twice as many.
        hidden: Features of the hidden layer.

    Example:
        >>> import torch
        >>> StridedConvNet(1, 10, image_size=(28, 28))(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        image_size: tuple[int, int],
        width: int = 32,
        hidden: int = 200,
    ) -> None:
        height, wide = (side // 2 // 2 for side in image_size)
        super().__init__(
            nn.Conv2d(in_channels, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * width * height * wide, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of images (B, C, H, W)."""
        return super().forward(inputs)
