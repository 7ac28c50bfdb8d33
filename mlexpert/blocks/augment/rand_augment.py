"""RandAugment: a few operations for each image, all of one strength."""

from __future__ import annotations

import torch
from torch import Tensor

from mlexpert.blocks.augment.drawn_operations import NUM_BINS, apply_drawn, strengths

LARGEST_SHIFT = 150 / 331
"""Of the image's side, from AutoAugment's 150 pixels of 331."""


def rand_augment(
    images: Tensor, generator: torch.Generator, *, num_ops: int = 2, magnitude: int = 9
) -> Tensor:
    """Change every image by `num_ops` operations of 14, one after the other, drawn uniformly.

    Paper: Cubuk et al. 2020, arXiv:1909.13719, section 3.

    Args:
        images: (B, C, H, W) in [0, 1], C = 1 or 3.
        generator: Source of chance. It may live on another device than the images.
        num_ops: Operations for each image, N in the paper.
        magnitude: Their strength from 0 to 30, M in the paper.

    Returns:
        (B, C, H, W), a new tensor (or `images` itself where `num_ops` is 0).

    Raises:
        ValueError: If `magnitude` is outside 0 to 30, or `num_ops` negative.
    """
    if not 0 <= magnitude < NUM_BINS or num_ops < 0:
        raise ValueError(
            f"magnitude is 0 to {NUM_BINS - 1} and num_ops 0 or more, got {magnitude} and {num_ops}"
        )
    table = _table(*images.shape[2:])
    bins = torch.full((len(images),), magnitude)
    for _ in range(num_ops):
        images = apply_drawn(images, table, bins, generator)
    return images


def _table(height: int, width: int) -> dict[str, Tensor]:
    shift = (LARGEST_SHIFT * height, LARGEST_SHIFT * width)
    return strengths(shear=0.3, shift=shift, degrees=30.0, blend=0.9, lost_bits=4)
