"""What makes members of one shared network: each sees the features with signs of its own.

Papers: Wen et al. 2020, arXiv:2002.06715 (members that differ by factors on one set of weights);
Gorishniy et al. 2024, arXiv:2410.24210 (TabM-mini: factors before the first layer are enough).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MemberScale(nn.Module):
    """Gives every member of an ensemble its own element-wise factors on the features.

    The factors start at random signs, so the members start as different functions of one and the
    same weights.

    Args:
        num_members: Members, M.
        num_features: Features, F.
    """

    def __init__(self, num_members: int, num_features: int) -> None:
        super().__init__()
        signs = torch.randint(0, 2, (num_members, num_features)) * 2.0 - 1.0
        self.scale = nn.Parameter(signs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (B, M, F), the inputs (B, F) as each member sees them."""
        return inputs.unsqueeze(1) * self.scale
