"""Rotary positions: queries and keys turn with their position, so attention sees distances.

Paper: Su et al. 2021, arXiv:2104.09864, equation 34.
Differs from the paper: feature i is paired with feature i + D/2, not with its neighbour. The
features are learned, so it is the same up to their order, and takes two slices, not a shuffle.
"""

from __future__ import annotations

import torch
from torch import Tensor


def turned(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return queries or keys, turned by their positions, in the shape and type they came in.

    Args:
        heads: (..., B, H, T, D).
        cos: (B or 1, 1, T, D), as `turns` makes it of the positions.
        sin: Beside it.
    """
    cos, sin = cos.to(heads.dtype), sin.to(heads.dtype)
    return torch.addcmul(heads * cos, heads.roll(heads.shape[-1] // 2, dims=-1), sin)


def turns(positions: Tensor, size: int, *, base: float = 10000.0) -> tuple[Tensor, Tensor]:
    """Return cosines and signed sines (B, 1, T, D) of positions (B, T), for heads of size D.

    They are in fp32 whatever the features are: bf16 knows no odd number above 256.

    Args:
        positions: (B, T), int64.
        size: D.
        base: The slowest pair of features turns once in 2 pi `base` positions (nearly).

    Raises:
        ValueError: If D is odd.
    """
    if size % 2:
        raise ValueError(f"rotary positions pair features, but a head has {size}")
    # Made anew each time: what is kept could be a tensor of inference, or of a trial without data.
    rates = torch.logspace(
        0.0, 2 / size - 1, size // 2, base=base, device=positions.device, dtype=torch.float32
    )
    angles = positions[:, None, :, None] * torch.cat((-rates, rates))  # (B, 1, T, D)
    return angles.cos(), angles.sin()
