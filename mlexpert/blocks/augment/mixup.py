"""Mixup: images and targets are averaged in pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from mlexpert.blocks.augment.mixing import drawn_partners, drawn_shares, mixed


def mixup(
    images: Tensor, targets: Tensor, generator: torch.Generator, *, alpha: float = 0.2
) -> tuple[Tensor, Tensor]:
    """Average every image and its target with those of another row.

    Paper: Zhang et al. 2018, arXiv:1710.09412, equation 1. Each pair has a share of its own, where
    the authors' code draws one for the whole batch.

    Args:
        images: (B, C, H, W).
        targets: (B, K) shares of the classes; `torch.nn.functional.one_hot` makes them of indices.
        generator: Source of chance. It may live on another device than the images.
        alpha: Of Beta(alpha, alpha), from which the shares are drawn: near 0 hardly mixes, 1 mixes
            evenly.

    Returns:
        Images (B, C, H, W) and targets (B, K), both new.

    Raises:
        ValueError: If `alpha` is not above 0.
    """
    share = drawn_shares(len(images), alpha, generator).to(images.device)
    partners = drawn_partners(len(images), generator).to(images.device)
    return mixed(images, partners, share), mixed(targets.float(), partners, share)
