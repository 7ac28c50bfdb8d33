"""CutMix: a rectangle of an image comes from another one, and so does that share of its target."""

from __future__ import annotations

import torch
from torch import Tensor

from mlexpert.blocks.augment.mixing import drawn_partners, drawn_shares, mixed


def cutmix(
    images: Tensor, targets: Tensor, generator: torch.Generator, *, alpha: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of another image into every image, and mix the targets by its area.

    Paper: Yun et al. 2019, arXiv:1905.04899, equations 1 and 2. Each image has a rectangle of its
    own, where the authors' code draws one for the whole batch.

    Args:
        images: (B, C, H, W).
        targets: (B, K) shares of the classes; `torch.nn.functional.one_hot` makes them of indices.
        generator: Source of chance. It may live on another device than the images.
        alpha: Of Beta(alpha, alpha), from which the share of the image that stays is drawn.

    Returns:
        Images (B, C, H, W) and targets (B, K), both new. The targets go by the pixels that were in
        fact exchanged: a rectangle is cut off at the image's edge.

    Raises:
        ValueError: If `alpha` is not above 0.
    """
    count, _, height, width = images.shape
    stays = drawn_shares(count, alpha, generator).view(-1, 1)
    partners = drawn_partners(count, generator).to(images.device)
    rows = _within(stays, height, generator)  # (B, H)
    columns = _within(stays, width, generator)  # (B, W)
    box = (rows[:, :, None] & columns[:, None, :]).to(images.device)
    share = 1.0 - box.float().mean(dim=(1, 2))
    pasted = torch.where(box.unsqueeze(1), images[partners], images)
    return pasted, mixed(targets.float(), partners, share)


def _within(stays: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Return which pixels (B, side) lie in an interval of side * sqrt(1 - stays), put anywhere."""
    length = ((1.0 - stays).sqrt() * side).floor()
    middle = torch.randint(side, stays.shape, generator=generator, device=generator.device)
    start = middle - (length / 2).floor()
    pixel = torch.arange(side, device=generator.device)
    return (pixel >= start) & (pixel < start + length)
