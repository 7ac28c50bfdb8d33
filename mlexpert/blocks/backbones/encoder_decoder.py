"""A transformer that reads one sequence and writes another.

Papers: Vaswani et al. 2017, arXiv:1706.03762 (encoder, decoder, places by sines); Xiong et al.
2020, arXiv:2002.04745 (norm before every sublayer); Su et al. 2021, arXiv:2104.09864 (rotary).
Differs from the papers: attention within a sequence turns with positions, and places are added as
well: across sequences nothing else says where a token stands.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.decoder_block import DecoderBlock
from mlexpert.blocks.layers.feed_forward import FeedForward
from mlexpert.blocks.layers.rms_norm import RMSNorm
from mlexpert.blocks.mixers.attention import Attention
from mlexpert.blocks.mixers.kv_cache import KvCache
from mlexpert.blocks.mixers.pre_norm_block import PreNormBlock


class DecoderState(NamedTuple):
    """What a decoder keeps of the tokens so far."""

    memory: Tensor
    """(B, S, D) the sources as they were read."""
    memory_mask: Tensor
    """(B, S) bool."""
    own: tuple[KvCache, ...]
    """Of each layer, what it keeps of the targets."""
    across: tuple[Any, ...]
    """Of each layer, what it keeps of the sources."""
    length: int


class EncoderDecoder(nn.Module):
    """Maps sources (B, S) and the targets so far (B, T) to logits (B, T, V) of the next tokens.

    Args:
        num_sources: Source ids; 0 pads.
        num_targets: Target ids V; 0 pads.
        dim: Features of a token.
        num_layers: Layers of the encoder, and as many of the decoder.
        num_heads: Heads of attention.
        dropout: Share of features dropped in training.
    """

    def __init__(
        self,
        num_sources: int,
        num_targets: int,
        *,
        dim: int = 128,
        num_layers: int = 2,
        num_heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.sources = nn.Embedding(num_sources, dim)
        self.targets = nn.Embedding(num_targets, dim)
        for table in (self.sources, self.targets):
            nn.init.normal_(table.weight)  # as large as the places that are added
        self.encoder = nn.ModuleList(
            PreNormBlock(
                Attention(dim, num_heads=num_heads, causal=False),
                FeedForward(dim),
                dim=dim,
                dropout=dropout,
            )
            for _ in range(num_layers)
        )
        self.decoder = nn.ModuleList(
            DecoderBlock(dim, num_heads=num_heads, dropout=dropout) for _ in range(num_layers)
        )
        self.memory_norm, self.norm = RMSNorm(dim), RMSNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(dim, num_targets)

    def encode(self, sources: Tensor) -> tuple[Tensor, Tensor]:
        """Return the memory (B, S, D) of sources (B, S), padded with 0, and its mask (B, S)."""
        mask = sources.ne(0)
        x = self.sources(sources)
        x = self.dropout(x + places(x.shape[1], x.shape[2], x))
        for block in self.encoder:
            x = block(x, mask=mask)[0]
        return self.memory_norm(x), mask

    def forward(self, sources: Tensor, given: Tensor) -> Tensor:
        """Return logits (B, T, V): at place t those of what follows the tokens up to t.

        Args:
            sources: (B, S), padded with 0 on the right.
            given: (B, T) targets, begun with the token that begins and padded on the right.
        """
        memory, mask = self.encode(sources)
        return self._decode(given, DecoderState(memory, mask, (), (), 0))[0]

    def start(self, memory: Tensor, memory_mask: Tensor, *, max_length: int) -> DecoderState:
        """Return the state before the first target, with room for `max_length` of them."""
        own = tuple(
            cast(DecoderBlock, block).mixer.init_state(
                len(memory), max_length, device=memory.device, dtype=memory.dtype
            )
            for block in self.decoder
        )
        return DecoderState(memory, memory_mask, own, (None,) * len(own), 0)

    def step(self, last: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Return logits (B, V) of what follows `last` (B,), and the state behind that."""
        logits, state = self._decode(last[:, None], state)
        return logits[:, 0], state

    @staticmethod
    def reorder(state: DecoderState, rows: Tensor) -> DecoderState:
        """Return the state in which row i goes on from row `rows[i]`, of the same source."""
        own = tuple(cache._replace(
            keys=cache.keys[rows], values=cache.values[rows], positions=cache.positions[rows],
            real=cache.real[rows], following=cache.following[rows],
        ) for cache in state.own)  # fmt: skip
        return state._replace(own=own)

    def _decode(self, given: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        x = self.targets(given)
        x = self.dropout(x + places(x.shape[1], x.shape[2], x, first=state.length))
        own, across = [], []
        for number, block in enumerate(self.decoder):
            x, mine, theirs = block(
                x,
                state.memory,
                memory_mask=state.memory_mask,
                own=state.own[number] if state.own else None,
                across=state.across[number] if state.across else None,
            )
            own.append(mine)
            across.append(theirs)
        logits = self.head(self.norm(x))
        if not state.own:
            return logits, state
        behind = state._replace(
            own=tuple(own), across=tuple(across), length=state.length + given.shape[1]
        )
        return logits, behind


def places(length: int, dim: int, like: Tensor, *, first: int = 0) -> Tensor:
    """Return sines and cosines (T, D) of the places from `first` on (Vaswani, section 3.5)."""
    at = torch.arange(first, first + length, device=like.device, dtype=torch.float32)
    rates = torch.arange(0, dim, 2, device=like.device) * (-math.log(10_000.0) / dim)
    angles = at[:, None] * rates.exp()
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :dim].to(like.dtype)
