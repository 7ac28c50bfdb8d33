"""Root mean square norm: features are scaled to unit mean square, without being centred.

Paper: Zhang & Sennrich 2019, arXiv:1910.07467, equation 4.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-6


class RMSNorm(nn.Module):
    """Norms the last dimension; the weight is optional, as the next projection can learn it.

    Args:
        dim: Features.
        weight: Whether each feature is scaled by a learned number.
    """

    def __init__(self, dim: int, *, weight: bool = True) -> None:
        super().__init__()
        self.dim = dim
        self.weight = nn.Parameter(torch.ones(dim)) if weight else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the normed features (..., D), in the type they came in."""
        weight = None if self.weight is None else self.weight.to(x.dtype)
        return F.rms_norm(x, (self.dim,), weight, EPSILON)
