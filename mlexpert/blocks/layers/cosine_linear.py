"""A classifier by direction alone: the cosine between features and a class's weights, times s.

A frequent class cannot grow weights of a larger norm than a rare one, and a margin between logits
has a fixed unit.

Paper: Wang et al. 2018, arXiv:1801.09414, section 3.1 (normalised weights and features, and one
scale for all logits).
Differs from the paper: the scale belongs to the layer, not to the loss, so that the logits are
those of a softmax in evaluation too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CosineLinear(nn.Module):
    """Returns the scaled cosine of the features with each class's weights.

    Args:
        in_features: Features, F.
        out_features: Classes, K.
        scale: What the cosines, from -1 to 1, are multiplied by; s in the paper.

    Example:
        >>> layer = CosineLinear(2, 3, scale=30.0)
        >>> layer(100 * layer.weight.detach()).diagonal().tolist()
        [30.0, 30.0, 30.0]
    """

    def __init__(self, in_features: int, out_features: int, *, scale: float) -> None:
        super().__init__()
        self.in_features, self.out_features, self.scale = in_features, out_features, scale
        # Only a direction counts: every one is as likely.
        self.weight = nn.Parameter(F.normalize(torch.randn(out_features, in_features), dim=-1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of the features (B, F), in float32 or wider."""
        with torch.autocast(inputs.device.type, enabled=False):
            return self.scale * F.linear(_directions(inputs), _directions(self.weight))


class GroupedCosineLinear(nn.Module):
    """`CosineLinear` with weights of its own for every member of an ensemble.

    Args:
        num_groups: Members, M.
        in_features: Features of a member, F.
        out_features: Classes, K.
        scale: What the cosines are multiplied by.
    """

    def __init__(
        self, num_groups: int, in_features: int, out_features: int, *, scale: float
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.scale = in_features, out_features, scale
        weight = F.normalize(torch.randn(num_groups, in_features, out_features), dim=1)
        self.weight = nn.Parameter(weight)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, M, K) of the members' features (B, M, F), in float32 or wider."""
        with torch.autocast(inputs.device.type, enabled=False):
            weight = _directions(self.weight, dim=1)
            return self.scale * torch.einsum("bmf,mfk->bmk", _directions(inputs), weight)


def _directions(vectors: Tensor, dim: int = -1) -> Tensor:
    """Return vectors of norm 1; in half precision a cosine would have three digits."""
    wide = vectors if vectors.dtype == torch.float64 else vectors.float()
    return F.normalize(wide, dim=dim)
