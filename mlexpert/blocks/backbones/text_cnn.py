"""A text classifier from scratch: convolutions over neighbouring tokens, and a linear part beside.

Papers: Kim 2014, arXiv:1408.5882 (convolutions of several widths, the largest value over the text,
dropout before the head); Cheng et al. 2016, arXiv:1606.07792 (a wide linear part beside).
Differs from the papers: several members with filters, dropout and a head of their own share the
embedding, and each is trained by its own loss; tokens are dropped at random.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.grouped_linear import GroupedLinear
from mlexpert.blocks.layers.hashed_ngrams import HashedNgrams

EMBEDDING_STD = 0.3
"""Large beside one step of Adam: rare tokens then move little, and are memorised late."""


class TextCnn(nn.Module):
    """Classifies token ids (B, T), where 0 is padding; texts may be of any length.

    Args:
        vocab_size: Token ids, padding included.
        num_classes: Outputs K.
        members: Members M of the ensemble.
        width: Features of a token.
        filters: Filters of a member, for each of the sizes.
        sizes: Tokens that a filter looks at.
        buckets: Rows of the table of hashed words and word pairs.
        dropout: Share dropped in training of the features before the head, and of the n-grams.
        embedding_dropout: Share of the embedding's features dropped in training.
        token_dropout: Share of tokens whose embedding is dropped in training.

    Example:
        >>> model = TextCnn(vocab_size=100, num_classes=3, members=2)
        >>> model(torch.tensor([[5, 7, 2, 0, 0], [9, 4, 4, 1, 3]])).shape
        torch.Size([2, 2, 3])
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        num_classes: int,
        members: int = 4,
        width: int = 128,
        filters: int = 64,
        sizes: Sequence[int] = (2, 3, 4, 5),
        buckets: int = 2**16,
        dropout: float = 0.5,
        embedding_dropout: float = 0.2,
        token_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.members, self.token_dropout = members, token_dropout
        self.tokens = nn.Embedding(vocab_size, width)
        nn.init.normal_(self.tokens.weight, std=EMBEDDING_STD)
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        # Every text is seen with an empty window behind it, so more padding changes nothing.
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, members * filters, size, padding=size) for size in sizes
        )
        self.dropout = nn.Dropout(dropout)
        self.heads = GroupedLinear(members, len(sizes) * filters, num_classes)
        self.wide = HashedNgrams(num_classes, buckets=buckets, dropout=dropout)

    def features(self, inputs: Tensor) -> Tensor:
        """Return each member's features (B, M, F) of token ids (B, T): what its filters found."""
        tokens = self.embedding_dropout(self._embed(inputs)).transpose(1, 2)  # (B, D, T)
        found = [convolution(tokens).amax(dim=-1) for convolution in self.convolutions]
        return torch.cat([f.unflatten(1, (self.members, -1)) for f in found], dim=-1).relu()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the members' logits (B, M, K) of token ids (B, T)."""
        logits = self.heads(self.dropout(self.features(inputs)))
        return logits + self.wide(inputs).unsqueeze(1)

    def _embed(self, inputs: Tensor) -> Tensor:
        left_out = inputs.eq(0)
        if self.training and self.token_dropout:
            drop = torch.rand(inputs.shape, device=inputs.device) < self.token_dropout
            left_out = left_out | drop
        return self.tokens(inputs).masked_fill(left_out.unsqueeze(-1), 0.0)
