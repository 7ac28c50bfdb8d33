"""A causal model of tokens: embeddings, blocks of any mixer, and a head over the vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TokenState(NamedTuple):
    """What a model keeps of the tokens that it has read."""

    blocks: tuple[Any, ...]
    length: int
    """Tokens read."""


class TokenModel(nn.Module):
    """Maps tokens (B, T) to logits (B, T, V) of the tokens that follow each.

    Args:
        blocks: Causal blocks of the mixers' signature.
        vocab_size: V.
        dim: Features D of a token.
        norm: Makes a norm from `dim`; it stands before the head.
        context: Most tokens that are read, T; learned positions have as many.
        learned_positions: Whether positions are embedded, for blocks that know none.
        tied: Whether the head has the weights of the embedding.
        boundary: The token that stands before each of several texts in one row: nothing looks
            across one. None: a row is one text.
        norm_embedding: Whether embeddings are normed before the first block.
        dropout: Share of the embeddings' features dropped in training.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        *,
        vocab_size: int,
        dim: int,
        norm: Callable[[int], nn.Module],
        context: int,
        learned_positions: bool = False,
        tied: bool = False,
        boundary: int | None = None,
        norm_embedding: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.context, self.boundary = context, boundary
        self.embedding = nn.Embedding(vocab_size, dim)
        self.positions = nn.Embedding(context, dim) if learned_positions else None
        self.embedding_norm = norm(dim) if norm_embedding else None
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm(dim)
        self.head = None if tied else nn.Linear(dim, vocab_size, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits (B, T, V)."""
        positions = None if self.boundary is None else places_behind(tokens, self.boundary)
        return self._logits(self._mixed(tokens, positions, None, 0)[0])

    def init_state(self, batch_size: int, max_length: int) -> TokenState:
        """Return the state before the first token, with room for `max_length` tokens."""
        weight = self.embedding.weight
        states = (
            block.init_state(batch_size, max_length, device=weight.device, dtype=weight.dtype)  # type: ignore[operator]
            for block in self.blocks
        )
        return TokenState(tuple(states), 0)

    def read(self, tokens: Tensor, state: TokenState) -> tuple[Tensor, TokenState]:
        """Return the logits (B, V) after the last of more tokens (B, T), and the state behind them.

        The tokens go on with one text: a boundary among them is one more token.
        """
        x, states = self._mixed(tokens, None, state.blocks, state.length)
        return self._logits(x[:, -1]), TokenState(states, state.length + tokens.shape[1])

    def _mixed(
        self,
        tokens: Tensor,
        positions: Tensor | None,
        states: tuple[Any, ...] | None,
        read: int,
    ) -> tuple[Tensor, tuple[Any, ...]]:
        x = self.embedding(tokens)
        if self.positions is not None:
            if positions is None:
                positions_read = torch.arange(read, read + tokens.shape[1], device=tokens.device)
            else:
                positions_read = positions
            x = x + self.positions(positions_read)
        x = self.dropout(x if self.embedding_norm is None else self.embedding_norm(x))
        after = []
        for number, block in enumerate(self.blocks):
            before = None if states is None else states[number]
            x, state = block(x, positions=positions, state=before)
            after.append(state)
        return x, tuple(after)

    def _logits(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return F.linear(x, self.embedding.weight) if self.head is None else self.head(x)


def places_behind(tokens: Tensor, boundary: int) -> Tensor:
    """Return the positions (B, T) of tokens (B, T) in their texts: a boundary is at 0.

    A text that began before the row is counted from the row's first token.
    """
    places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    begun = places.masked_fill(tokens.ne(boundary), 0).cummax(dim=1).values
    return places - begun
