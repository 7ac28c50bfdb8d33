"""Rotary positions: queries and keys turn with their position, so attention sees distances.

Paper: Su et al. 2021, arXiv:2104.09864, equation 34.
Differs from the paper: feature i is paired with feature i + D/2, not with its neighbour. The
features are learned, so it is the same up to their order, and takes two slices, not a shuffle.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


def rotate(heads: Tensor, positions: Tensor, *, base: float = 10000.0) -> Tensor:
    """Return queries or keys, turned by their positions.

    Args:
        heads: (..., B, H, T, D) with D even.
        positions: (B, T) or (1, T), int64.
        base: The slowest pair of features turns once in 2 pi `base` positions (nearly).

    Returns:
        The features in the shape and type they came in.

    Raises:
        ValueError: If D is odd.
    """
    size = heads.shape[-1]
    if size % 2:
        raise ValueError(f"rotary positions pair features, but a head has {size}")
    # In fp32 whatever the features are: bf16 knows no odd number above 256.
    made = _rates if torch.compiler.is_compiling() else _kept_rates
    angles = positions[:, None, :, None] * made(size, base, heads.device)  # (B, 1, T, D)
    cos, sin = angles.cos().to(heads.dtype), angles.sin().to(heads.dtype)
    return torch.addcmul(heads * cos, heads.roll(size // 2, dims=-1), sin)


def _rates(size: int, base: float, device: torch.device) -> Tensor:
    """Return the radians per position (D,) of each feature; the first half turns backwards."""
    rates = torch.logspace(
        0.0, 2 / size - 1, size // 2, base=base, device=device, dtype=torch.float32
    )
    return torch.cat((-rates, rates))


@cache
def _kept_rates(size: int, base: float, device: torch.device) -> Tensor:
    """Return the same, made once."""
    with torch.inference_mode(False):  # or training could not use what generation has made
        return _rates(size, base, device)
