"""Features through a random projection and a ReLU: a wide layer that nobody trains.

Paper: McDonnell et al. 2023, arXiv:2307.02251, equation 5.
Differs from the paper: weights have variance 1 / F, so that features keep their scale.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RandomFeatures(nn.Module):
    """Returns max(0, inputs @ weight) for weights that are drawn once.

    Args:
        in_features: Features that come in, F (L in the paper).
        out_features: Features that go out, P (M in the paper).
        generator: Draws the weights. None: torch's default one.
    """

    weight: Tensor

    def __init__(
        self, in_features: int, out_features: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        weight = torch.randn(out_features, in_features, generator=generator) / in_features**0.5
        self.register_buffer("weight", weight)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (B, P) of features (B, F)."""
        return F.relu(F.linear(inputs, self.weight))
