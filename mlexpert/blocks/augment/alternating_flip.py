"""Mirror every image in every other epoch, half of them first: no view is seen twice in a row.

Paper: Jordan 2024, arXiv:2404.00498, section 3.6.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MULTIPLIER = 2_654_435_761  # Knuth's, 2^32 by the golden ratio: neighbours fall on either side


def alternating_flip(images: Tensor, rows: Tensor, epoch: int) -> Tensor:
    """Mirror the images that are due in this epoch.

    An image is mirrored in the even epochs or in the odd ones; which, is a function of its row.

    Args:
        images: (B, C, H, W).
        rows: (B,) row of the training set of each image.
        epoch: Number of the epoch, from 0.

    Returns:
        (B, C, H, W), a new tensor.

    Example:
        >>> images = torch.arange(2.0).expand(3, 1, 1, 2)
        >>> first, second = (alternating_flip(images, torch.arange(3), epoch) for epoch in (0, 1))
        >>> torch.equal(first, second.flip(3))
        True
    """
    is_odd = (rows * _MULTIPLIER).bitwise_right_shift(31) & 1
    flip = (is_odd + epoch) % 2 == 1
    return torch.where(flip.to(images.device).view(-1, 1, 1, 1), images.flip(3), images)
