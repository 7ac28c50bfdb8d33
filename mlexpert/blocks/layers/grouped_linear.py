"""Linear layers side by side: one for each column of a table, or member of an ensemble."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GroupedLinear(nn.Module):
    """Applies a linear layer of its own to every group, in one batched product.

    Args:
        num_groups: Groups, G.
        in_features: Features of a group, I.
        out_features: Features that come out of a group, O.
    """

    def __init__(self, num_groups: int, in_features: int, out_features: int) -> None:
        super().__init__()
        bound = max(in_features, 1) ** -0.5  # as in torch.nn.Linear
        weight = torch.empty(num_groups, in_features, out_features).uniform_(-bound, bound)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.empty(num_groups, out_features).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (B, G, O) of the inputs (B, G, I)."""
        return torch.einsum("bgi,gio->bgo", inputs, self.weight) + self.bias
