"""The blocks of a transformer encoder: attention both ways, GELU, layer norm before a sublayer."""

from __future__ import annotations

from torch import nn

from mlexpert.blocks.layers.feed_forward import FeedForward
from mlexpert.blocks.mixers.attention import Attention
from mlexpert.blocks.mixers.pre_norm_block import PreNormBlock


def encoder_blocks(
    num_layers: int, dim: int, *, num_heads: int, hidden: int, dropout: float
) -> nn.ModuleList:
    """Return blocks for tokens (B, T, D) whose positions, where they have any, are embedded.

    Args:
        num_layers: Blocks.
        dim: Features D of a token.
        num_heads: Attention heads; they divide `dim`.
        hidden: Width of the feed-forward layers.
        dropout: Share of attention weights and of features dropped in training.
    """
    return nn.ModuleList(
        PreNormBlock(
            Attention(
                dim, num_heads=num_heads, causal=False, rotary=False, bias=True, dropout=dropout
            ),
            FeedForward(dim, hidden=hidden),
            dim=dim,
            norm=nn.LayerNorm,
            dropout=dropout,
        )
        for _ in range(num_layers)
    )
