"""What makes members of one shared network: each sees the features by factors of its own.

Papers: Wen et al. 2020, arXiv:2002.06715 (members that differ by factors on one set of weights);
Gorishniy et al. 2024, arXiv:2410.24210 (TabM-mini: factors before the first layer are enough).
Differs from the papers: the factors are multiplied into the weights, not into the features. Either
gives (x * r) W; the weights of all members, side by side, are one matrix, and the layer is one
product. Nothing as large as the inputs of all members is to be written or kept.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MemberScale(nn.Module):
    """Element-wise factors on the features of a linear layer that all members share.

    The factors start at random signs, so the members start as different functions of one and the
    same weights.

    Args:
        num_members: Members, M.
        num_features: Features that come into the layer, I.
    """

    def __init__(self, num_members: int, num_features: int) -> None:
        super().__init__()
        signs = torch.randint(0, 2, (num_members, num_features)) * 2.0 - 1.0
        self.scale = nn.Parameter(signs)

    def forward(self, inputs: Tensor, shared: nn.Linear) -> Tensor:
        """Return (B, M, O), what each member makes of the inputs (B, I) through `shared`."""
        # As a product, so that under autocast the weights of all members are made, and their
        # gradients summed, in half precision: there are as many as there are activations.
        scale, weight = self.scale.T.contiguous(), shared.weight.T.contiguous()
        weights = torch.bmm(scale.unsqueeze(2), weight.unsqueeze(1))  # (I, M, O)
        # One product for all members: backward then sums over them inside of it.
        bias = shared.bias.repeat(len(self.scale))
        features = torch.addmm(bias, inputs, weights.flatten(1))
        return features.unflatten(1, (len(self.scale), -1))
