"""TrivialAugment: one operation for each image, of any strength, and nothing to tune."""

from __future__ import annotations

import torch
from torch import Tensor

from mlexpert.blocks.augment.drawn_operations import NUM_BINS, apply_drawn, strengths

LARGEST = strengths(shear=0.99, shift=(32.0, 32.0), degrees=135.0, blend=0.99, lost_bits=6)
"""The paper's wide space."""


def trivial_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Change every image by one operation of 14, at one strength of 31, both drawn uniformly.

    Paper: Mueller and Hutter 2021, arXiv:2103.10158, algorithm 1 over the wide space of table 7.

    Args:
        images: (B, C, H, W) in [0, 1], C = 1 or 3.
        generator: Source of chance. It may live on another device than the images.

    Returns:
        (B, C, H, W), a new tensor.
    """
    bins = torch.randint(NUM_BINS, (len(images),), generator=generator, device=generator.device)
    return apply_drawn(images, LARGEST, bins, generator)
