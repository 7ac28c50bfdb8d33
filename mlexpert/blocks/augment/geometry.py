"""Shear, shift and rotation of whole batches, each image by its own amount.

All are inverse affine maps, sampled at the nearest pixel as in the papers that draw them; what
comes from outside of an image is black.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def shear_x(images: Tensor, slope: Tensor) -> Tensor:
    """Shift every row by `slope` times its distance from the top edge.

    Args:
        images: (B, C, H, W).
        slope: (B,) pixels to the left per pixel downwards.

    Returns:
        (B, C, H, W), a new tensor.
    """
    height, width = images.shape[2:]
    lean = slope * height / width
    return _warp(images, _identity(images, {(0, 1): lean, (0, 2): lean}))


def shear_y(images: Tensor, slope: Tensor) -> Tensor:
    """Shift every column by `slope` (B,), pixels upwards per pixel from the left edge."""
    height, width = images.shape[2:]
    lean = slope * width / height
    return _warp(images, _identity(images, {(1, 0): lean, (1, 2): lean}))


def translate_x(images: Tensor, distance: Tensor) -> Tensor:
    """Shift to the right by `distance` (B,), of which the whole pixels count."""
    return _warp(images, _identity(images, {(0, 2): -2 * distance.trunc() / images.shape[3]}))


def translate_y(images: Tensor, distance: Tensor) -> Tensor:
    """Shift downwards by `distance` (B,), of which the whole pixels count."""
    return _warp(images, _identity(images, {(1, 2): -2 * distance.trunc() / images.shape[2]}))


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn around the centre by `degrees` (B,), counter-clockwise."""
    height, width = images.shape[2:]
    angle = degrees.deg2rad()
    cos, sin = angle.cos(), angle.sin()
    places = {(0, 0): cos, (0, 1): -sin * height / width, (1, 0): sin * width / height, (1, 1): cos}
    return _warp(images, _identity(images, places))


def _identity(images: Tensor, places: dict[tuple[int, int], Tensor]) -> Tensor:
    """Return maps (B, 2, 3) from output to input, in half images, with other values at `places`."""
    maps = torch.eye(2, 3, device=images.device).repeat(len(images), 1, 1)
    for (row, column), values in places.items():
        maps[:, row, column] = values
    return maps


def _warp(images: Tensor, maps: Tensor) -> Tensor:
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="nearest", align_corners=False)
