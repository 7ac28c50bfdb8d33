"""Brightness, colour, contrast and tone of whole batches, each image by its own amount.

All take images (B, C, H, W) in [0, 1] with one channel or three, and return new ones in [0, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import equalize as equalized

LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R 601-2)."""


def brightness(images: Tensor, change: Tensor) -> Tensor:
    """Multiply by 1 + `change` (B,): -1 gives black, 0 changes nothing."""
    return _away_from(torch.zeros_like(images), images, change)


def saturation(images: Tensor, change: Tensor) -> Tensor:
    """Move away from grey by `change` (B,): -1 gives grey. Grey images stay as they are."""
    return images.clone() if images.shape[1] == 1 else _away_from(_grey(images), images, change)


def contrast(images: Tensor, change: Tensor) -> Tensor:
    """Move away from the image's mean grey by `change` (B,): -1 gives that grey alone."""
    return _away_from(_grey(images).mean(dim=(1, 2, 3), keepdim=True), images, change)


def sharpness(images: Tensor, change: Tensor) -> Tensor:
    """Move away from a blurred copy by `change` (B,): -1 gives the blurred copy.

    The outermost pixels stay, as in Pillow, and so do images of less than 3 pixels a side.
    """
    channels, height, width = images.shape[1:]
    if min(height, width) < 3:
        return images.clone()
    kernel = torch.ones(3, 3, device=images.device)
    kernel[1, 1] = 5.0
    weight = (kernel / 13.0).expand(channels, 1, 3, 3)
    blurred = images.clone()
    blurred[:, :, 1:-1, 1:-1] = F.conv2d(images, weight, groups=channels)
    return _away_from(blurred, images, change)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the `bits` (B,) highest bits of every value, whole numbers from 0 to 8."""
    levels = torch.exp2(bits).view(-1, 1, 1, 1)
    return (images * levels).floor().clamp(max=levels - 1) / levels


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert every value at or above `threshold` (B,), in [0, 1]."""
    return torch.where(images >= threshold.view(-1, 1, 1, 1), 1.0 - images, images)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch every channel to run from 0 to 1; a constant one stays."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    flat = low == high
    return (images - low.masked_fill(flat, 0.0)) / (high - low).masked_fill(flat, 1.0)


def equalize(images: Tensor) -> Tensor:
    """Flatten the histogram of every channel, in 256 steps as Pillow does."""
    return equalized(images)


def _away_from(other: Tensor, images: Tensor, change: Tensor) -> Tensor:
    factor = 1.0 + change.view(-1, 1, 1, 1)
    return torch.lerp(other.expand_as(images), images, factor).clamp(0.0, 1.0)


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    weights = torch.tensor(LUMA, device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)
