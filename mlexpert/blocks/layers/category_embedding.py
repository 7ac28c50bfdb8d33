"""Category codes as vectors, with a neutral one for what training did not show."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MISSING, UNSEEN = 0, 1
"""Codes that are no category. Categories start at 2."""


class CategoryEmbedding(nn.Module):
    """Looks up a vector for each code.

    The vectors of the missing and the unseen code start at zero, the middle of the others, and stay
    there unless training shows such rows.

    Args:
        num_codes: Codes, including 0 for missing and 1 for unseen.
        size: Features of a vector, E.

    Raises:
        ValueError: If there are fewer than two codes.
    """

    def __init__(self, num_codes: int, size: int) -> None:
        super().__init__()
        if num_codes < 2:
            raise ValueError(f"codes 0 (missing) and 1 (unseen) always exist; got {num_codes}")
        self.weight = nn.Parameter(torch.randn(num_codes, size))
        with torch.no_grad():
            self.weight[[MISSING, UNSEEN]] = 0.0

    def forward(self, codes: Tensor) -> Tensor:
        """Return vectors (B, E) of the codes (B,), whole numbers as floats; NaN is missing."""
        index = torch.nan_to_num(codes, nan=float(MISSING)).long()
        known = (index >= 0) & (index < len(self.weight))
        return nn.functional.embedding(torch.where(known, index, UNSEEN), self.weight)
