"""A linear model over the words and word pairs of a text: the wide part beside a deep network.

Word pairs are too many for a table of their own, so each is hashed to a row of a smaller one.

Papers: Joulin et al. 2016, arXiv:1607.01759 (fastText's hashed word pairs); Cheng et al. 2016,
arXiv:1606.07792 (a wide linear part beside a deep one).
Differs from the papers: the sum over a text's n-grams is divided by the root of their number, and
n-grams are dropped at random in training.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GAIN = 20.0
"""Factor on what is learnt, so that Adam's step suits a feature that is seen a few times in all."""
MIX, SHIFT = 0x9E3779B97F4A7C15 - 2**64, 24  # Fibonacci hashing, whose high bits are the well mixed


class HashedNgrams(nn.Module):
    """Maps token ids (B, T), where 0 is padding, to outputs (B, K); zero before training.

    Args:
        num_outputs: Outputs K.
        buckets: Rows of the table; at least as many as there are different n-grams suits best.
        longest: Tokens of the longest n-gram.
        dropout: Share of a text's n-grams that is dropped in training.
    """

    def __init__(
        self, num_outputs: int, *, buckets: int, longest: int = 2, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.longest, self.dropout = longest, dropout
        self.weight = nn.Parameter(torch.zeros(buckets, num_outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs (B, K) of token ids (B, T)."""
        rows, present = self.ngrams(inputs)
        keep = F.dropout(present, self.dropout, self.training) * GAIN
        keep = keep / present.sum(dim=1, keepdim=True).clamp(min=1).sqrt()
        return F.embedding_bag(rows, self.weight, mode="sum", per_sample_weights=keep)

    def ngrams(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the table's row (B, G) of every n-gram, and 1 where it is there, 0 in padding."""
        hashed, is_there = inputs, inputs.ne(0)
        rows, present = [], []
        for length in range(1, self.longest + 1):
            if length > 1:
                hashed = hashed[:, :-1] * MIX + inputs[:, length - 1 :]
                is_there = is_there[:, :-1] & inputs[:, length - 1 :].ne(0)
            high_bits = (hashed * MIX) >> SHIFT
            rows.append(high_bits.remainder(len(self.weight)))
            present.append(is_there)
        return torch.cat(rows, dim=1), torch.cat(present, dim=1).to(self.weight.dtype)
