"""Random erasing: a rectangle of an image is filled with noise."""

from __future__ import annotations

import torch
from torch import Tensor

TRIES = 10
"""Shapes drawn for each image, of which the first that fits is taken."""


def random_erasing(
    images: Tensor,
    generator: torch.Generator,
    *,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.33),
    aspect: float = 3.3,
) -> Tensor:
    """Fill one rectangle of each image with uniform noise, with some probability.

    Paper: Zhong et al. 2020, arXiv:1708.04896, algorithm 1. The noise is that of its variant RE-R,
    one value for every channel of every pixel.

    Args:
        images: (B, C, H, W) in [0, 1].
        generator: Source of chance. It may live on another device than the images.
        probability: Share of the images that are changed, p in the paper.
        area: Least and largest share of the image, s_l and s_h.
        aspect: Largest ratio of the rectangle's sides, 1 / r_1. Its logarithm is drawn, so that
            tall and wide ones are equally likely.

    Returns:
        (B, C, H, W), a new tensor. An image for which none of 10 rectangles fits stays.
    """
    count, _, height, width = images.shape
    device = generator.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    wanted = (area[0] + (area[1] - area[0]) * uniform(count, TRIES)) * height * width
    ratio = torch.tensor(aspect, device=device) ** (2 * uniform(count, TRIES) - 1)
    tall, wide = (wanted * ratio).sqrt().round(), (wanted / ratio).sqrt().round()
    fits = (tall < height) & (wide < width) & (tall * wide > 0)
    first = fits.int().argmax(dim=1, keepdim=True)
    tall, wide = tall.gather(1, first), wide.gather(1, first)  # (B, 1)
    top = (uniform(count, 1) * (height - tall + 1)).floor()
    left = (uniform(count, 1) * (width - wide + 1)).floor()
    erased = fits.any(dim=1, keepdim=True) & (uniform(count, 1) < probability)
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    in_rows = (rows >= top) & (rows < top + tall) & erased  # (B, H)
    in_columns = (columns >= left) & (columns < left + wide)  # (B, W)
    box = (in_rows[:, :, None] & in_columns[:, None, :]).unsqueeze(1)  # (B, 1, H, W)
    noise = uniform(int(box.sum()) * images.shape[1])  # for no pixel that stays
    return images.masked_scatter(box.to(images.device), noise.to(images.device))
