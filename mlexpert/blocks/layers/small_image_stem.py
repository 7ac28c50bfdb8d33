"""The first layers of an image model: small images are not downsampled there."""

from __future__ import annotations

from torch import nn

SMALL_IMAGE_PIXELS = 64


def is_small(image_size: tuple[int, int]) -> bool:
    """Say whether images (height, width) are too small to lose resolution in the stem.

    A strided stem made for 224 pixels leaves an 8 by 8 map of a 32-pixel image before the first
    stage, and costs more than ten points of accuracy on CIFAR.
    """
    return max(image_size) <= SMALL_IMAGE_PIXELS


def image_stem(in_channels: int, width: int, image_size: tuple[int, int]) -> nn.Sequential:
    """Build the stem of a residual network: convolution, batch norm, ReLU.

    Args:
        in_channels: Channels of the images.
        width: Channels that come out.
        image_size: Height and width in pixels. Up to 64, a 3 by 3 convolution of stride 1 (He et
            al. 2016, arXiv:1512.03385, section 4.2); above, a 7 by 7 of stride 2 and a max-pool of
            stride 2 (table 1).

    Returns:
        A module from (B, in_channels, H, W) to (B, width, H, W), or to a quarter of height and
        width.
    """
    if is_small(image_size):
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 3, padding=1, bias=False)]
    else:
        layers = [nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)]
    layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    if not is_small(image_size):
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    return nn.Sequential(*layers)
