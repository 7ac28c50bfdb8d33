"""The blocks of a transformer encoder: attention both ways, GELU, layer norm before a sublayer.

What a sublayer gives is dropped out, as in Vaswani et al. 2017, section 5.4, and no weights of
attention: on a CPU that takes as long as all the rest.
"""

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
        dropout: Share of a sublayer's features dropped in training.
    """
    return nn.ModuleList(
        PreNormBlock(
            Attention(dim, num_heads=num_heads, causal=False, rotary=False, bias=True),
            FeedForward(dim, hidden=hidden),
            dim=dim,
            norm=nn.LayerNorm,
            dropout=dropout,
        )
        for _ in range(num_layers)
    )
