"""Random numbers that belong to a sample: the same for it whatever the batch it comes in.

A counter is hashed in place of a state that moves: number n of a sample is a function of seed,
sample, stream and n alone, so the result of an attack does not depend on how rows are cut.

Hash: SplitMix64, Steele et al. 2014, doi:10.1145/2660193.2660195, figure 17.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - 2**64
FIRST, SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
"""The constants as 64-bit integers with a sign; products wrap around."""
BITS = 24
"""Of a number: as many as a float32 holds exactly."""


def uniform(ids: Tensor, shape: torch.Size, *, seed: int, stream: int = 0) -> Tensor:
    """Return numbers (B, *shape) in [0, 1), float32.

    Args:
        ids: (B,) int64, which sample each row is.
        shape: Of one sample.
        seed: Of the attack.
        stream: Tells apart what is drawn for one sample: restarts, iterations.

    Example:
        >>> import torch
        >>> both = uniform(torch.tensor([3, 7]), torch.Size([2]), seed=0)
        >>> bool((uniform(torch.tensor([7]), torch.Size([2]), seed=0) == both[1:]).all())
        True
    """
    start = torch.tensor(_signed(seed * 0x9E3779B97F4A7C15 + 1), device=ids.device)
    key = _mixed(_mixed(_mixed(start) ^ stream) ^ ids.long())  # (B,)
    counter = torch.arange(math.prod(shape), device=ids.device) * GOLDEN
    numbers = _mixed(key[:, None] + counter)
    top = (numbers >> (64 - BITS)) & (2**BITS - 1)
    return (top.float() / 2**BITS).view(len(ids), *shape)


def _mixed(value: Tensor) -> Tensor:
    value = value + GOLDEN
    value = (value ^ _shifted(value, 30)) * FIRST
    value = (value ^ _shifted(value, 27)) * SECOND
    return value ^ _shifted(value, 31)


def _shifted(value: Tensor, bits: int) -> Tensor:
    """Shift right and fill with zeros, where torch fills with the sign."""
    return (value >> bits) & (2 ** (64 - bits) - 1)


def _signed(value: int) -> int:
    value %= 2**64
    return value - 2**64 if value >= 2**63 else value
