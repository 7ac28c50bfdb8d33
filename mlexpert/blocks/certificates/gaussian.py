"""Gaussian noise that is the same for a sample whatever the batch it comes in."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mlexpert.blocks.attacks.noise import uniform


def gaussian(ids: Tensor, shape: torch.Size, *, seed: int, stream: int = 0) -> Tensor:
    """Return standard normal numbers, keyed by seed, stream and sample.

    Box and Muller 1958, doi:10.1214/aoms/1177706645. The uniform numbers have 24 bits, so that none
    is beyond 5.77, where a true normal number is with a probability of 8e-9.

    Args:
        ids: (B,) int64 samples.
        shape: Of one sample.
        seed: Of all that is drawn.
        stream: Of several for the same samples.

    Returns:
        (B, *shape) float32, on the device of `ids`.

    Example:
        >>> two = gaussian(torch.tensor([3, 8]), torch.Size([5]), seed=0)
        >>> bool((two[1:] == gaussian(torch.tensor([8]), torch.Size([5]), seed=0)).all())
        True
    """
    size = math.prod(shape)
    pairs = -(-size // 2)
    drawn = uniform(ids, torch.Size((2, pairs)), seed=seed, stream=stream)
    length = (1 - drawn[:, 0]).log().mul_(-2).sqrt_()  # 1 - u is never 0
    angle = drawn[:, 1] * (2 * math.pi)
    both = torch.cat([length * angle.cos(), length * angle.sin()], dim=1)
    return both[:, :size].reshape(len(ids), *shape)
