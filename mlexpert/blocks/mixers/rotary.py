"""Rotary positions: queries and keys turn with their position, so attention sees distances.

Paper: Su et al. 2021, arXiv:2104.09864, equation 34.
Differs from the paper: feature i is paired with feature i + D/2, not with its neighbour. The
features are learned, so it is the same up to their order, and takes two slices, not a shuffle.
"""

from __future__ import annotations

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
    # Made anew each time: what is kept could be a tensor of inference, or of a trial without data.
    rates = torch.logspace(
        0.0, 2 / size - 1, size // 2, base=base, device=heads.device, dtype=torch.float32
    )
    angles = positions[:, None, :, None] * torch.cat((-rates, rates))  # (B, 1, T, D)
    cos, sin = angles.cos().to(heads.dtype), angles.sin().to(heads.dtype)
    return torch.addcmul(heads * cos, heads.roll(size // 2, dims=-1), sin)
