"""A text classifier from scratch: convolutions over neighbouring words.

Paper: Kim 2014, arXiv:1408.5882 (convolutions of several widths, the largest value over the text,
dropout before the head).
Differs from the paper: several members with filters, dropout and a head of their own share the
embedding, and each is trained by its own loss; tokens are dropped at random. One that is dropped
and one that is unknown are nothing at all, so that an unknown word is met in training.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.grouped_linear import GroupedLinear

EMBEDDING_BOUND = 0.25
"""Of its uniform initial values, as in the paper. Large beside one step of Adam: rare tokens then
move little, and are memorised late."""
NOTHING = 2
"""Token ids below it, padding and unknown, have no embedding."""


class TextCnn(nn.Module):
    """Classifies token ids (B, T), where 0 is padding; texts may be of any length.

    Args:
        vocab_size: Token ids, padding included.
        num_classes: Outputs K.
        members: Members M of the ensemble.
        width: Features of a token.
        filters: Filters of a member, for each of the sizes.
        sizes: Tokens that a filter looks at.
        dropout: Share of the features before the head that is dropped in training.
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
        members: int = 3,
        width: int = 300,
        filters: int = 100,
        sizes: Sequence[int] = (3, 4, 5),
        dropout: float = 0.5,
        embedding_dropout: float = 0.0,
        token_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.members, self.token_dropout = members, token_dropout
        self.tokens = nn.Embedding(vocab_size, width)
        nn.init.uniform_(self.tokens.weight, -EMBEDDING_BOUND, EMBEDDING_BOUND)
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        # Every text is seen with an empty window behind it, so more padding changes nothing.
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, members * filters, size, padding=size) for size in sizes
        )
        self.dropout = nn.Dropout(dropout)
        self.heads = GroupedLinear(members, len(sizes) * filters, num_classes)

    def features(self, inputs: Tensor) -> Tensor:
        """Return each member's features (B, M, F) of token ids (B, T): what its filters found."""
        tokens = self.embedding_dropout(self._embed(inputs)).transpose(1, 2)  # (B, D, T)
        found = [convolution(tokens).amax(dim=-1) for convolution in self.convolutions]
        return torch.cat([f.unflatten(1, (self.members, -1)) for f in found], dim=-1).relu()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the members' logits (B, M, K) of token ids (B, T)."""
        return self.heads(self.dropout(self.features(inputs)))

    def _embed(self, inputs: Tensor) -> Tensor:
        left_out = inputs < NOTHING
        if self.training and self.token_dropout:
            drop = torch.rand(inputs.shape, device=inputs.device) < self.token_dropout
            left_out = left_out | drop
        return self.tokens(inputs).masked_fill(left_out.unsqueeze(-1), 0.0)
