"""Category codes as vectors, with a neutral one for what training did not show."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MISSING, UNSEEN = 0, 1
"""Codes that are no category. Categories start at 2."""


def known_codes(codes: Tensor, num_codes: Tensor | int) -> Tensor:
    """Return codes as indices of their vectors, all columns of a table at once.

    Args:
        codes: (B, D) whole numbers as floats; NaN is missing.
        num_codes: (D,) codes of each column, or one number for all; others are unseen.

    Returns:
        (B, D) int64.
    """
    index = torch.nan_to_num(codes, nan=float(MISSING)).long()
    return torch.where((index >= 0) & (index < num_codes), index, UNSEEN)


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

    def forward(self, index: Tensor) -> Tensor:
        """Return vectors (B, E) of codes (B,) that all exist; see `known_codes`."""
        return nn.functional.embedding(index, self.weight)
