"""A text as the direction of its bag of words, in random coordinates that nobody trains.

Paper: Bingham and Mannila 2001, doi:10.1145/502512.502546 (random projection of counts of words,
which keeps distances nearly as they are).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TokenBag(nn.Module):
    """Returns the sum of the random vectors of a text's tokens, scaled to norm 1.

    Args:
        vocab_size: Token ids, V; 0 is padding and counts nothing.
        out_features: Features, F.
        generator: Draws the vectors. None: torch's default one.
    """

    weight: Tensor

    def __init__(
        self, vocab_size: int, out_features: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        weight = torch.randn(vocab_size, out_features, generator=generator) / out_features**0.5
        self.register_buffer("weight", weight)
        self.out_features = out_features

    def forward(self, inputs: Tensor) -> Tensor:
        """Return features (B, F) of token ids (B, T); a text of padding alone has zeros."""
        summed = F.embedding_bag(inputs, self.weight, mode="sum", padding_idx=0)
        return F.normalize(summed, dim=1)
