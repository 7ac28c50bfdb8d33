"""A head that learns as a linear layer and answers by the nearest class mean.

Weights of a linear head lag behind features that go on changing, and those of classes whose rows no
longer come fall behind the others; means can be computed anew whenever features have changed.

Paper: Rebuffi et al. 2017, arXiv:1611.07725, algorithm 1, equation 2. Features have norm 1, and so
have means, whose squared distance is 2 - 2 cos.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.layers.grouped_linear import GroupedLinear

NO_MEAN = -5.0
"""The logit of a class without a mean: below minus the largest squared distance, 4."""


class NearestMeanHead(nn.Module):
    """Returns linear logits in training, and minus squared distances to class means in evaluation.

    Until means are known, evaluation has linear logits too. A teacher is asked for those of
    `linear`, whatever its mode.

    Args:
        linear: Learns the features: an `nn.Linear`, or a `GroupedLinear` for M members, each of
            which then has means of its own.

    Attributes:
        means: (K, F) or (M, K, F), of norm 1; 0 where a class has none.
        known: (K,) whether a class has a mean.

    Example:
        >>> head = NearestMeanHead(nn.Linear(2, 2)).eval()
        >>> head.remember(torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([True, True]))
        >>> head(torch.tensor([[5.0, 0.0]])).tolist()
        [[-0.0, -2.0]]
    """

    means: Tensor
    known: Tensor

    def __init__(self, linear: nn.Linear | GroupedLinear) -> None:
        super().__init__()
        self.linear = linear
        if isinstance(linear, GroupedLinear):
            members, features, classes = linear.weight.shape
            means = torch.zeros(members, classes, features)
        else:
            means = torch.zeros(linear.out_features, linear.in_features)
        self.register_buffer("means", means)
        self.register_buffer("known", torch.zeros(means.shape[-2], dtype=torch.bool))

    @property
    def weight(self) -> Tensor:
        """Weights of the linear layer: a network may ask for the type of its last one."""
        return self.linear.weight

    def remember(self, means: Tensor, known: Tensor) -> None:
        """Answer by these means from now on.

        Args:
            means: (K, F) or (M, K, F), of any norm.
            known: (K,) whether there is a mean of the class.
        """
        normalised = F.normalize(means.to(self.means), dim=-1)
        self.means.copy_(normalised.masked_fill(~known[:, None], 0.0))
        self.known.copy_(known)

    def forget(self) -> None:
        """Answer by linear logits until there are means again: features are about to change."""
        self.means.zero_()
        self.known.zero_()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of features (B, F), or (B, M, K) of (B, M, F).

        Distances are computed in float32 or wider.
        """
        if self.training:
            return self.linear(inputs)
        with torch.autocast(inputs.device.type, enabled=False):
            wide = F.normalize(inputs.to(self.means.dtype), dim=-1)
            cosines = torch.einsum("...f,...kf->...k", wide, self.means)
            logits = (2 * cosines - 2).masked_fill(~self.known, NO_MEAN)
        # No branch on a value: where there are no means at all, the linear logits are taken.
        return logits.where(self.known.any(), self.linear(inputs).to(logits.dtype))
