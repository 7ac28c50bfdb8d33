"""A residual block that looks back at its own sequence and across at another.

Papers: Vaswani et al. 2017, arXiv:1706.03762, section 3.1; Xiong et al. 2020, arXiv:2002.04745
(norm before every sublayer).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mlexpert.blocks.layers.feed_forward import FeedForward
from mlexpert.blocks.layers.rms_norm import RMSNorm
from mlexpert.blocks.mixers.attention import Attention
from mlexpert.blocks.mixers.cross_attention import CrossAttention


class DecoderBlock(nn.Module):
    """Adds what a token finds before itself, what it finds in the memory, and a feed-forward layer.

    Args:
        dim: Features of a token.
        num_heads: Heads of attention.
        dropout: Share of each sublayer's features dropped in training.
    """

    def __init__(self, dim: int, *, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norms = nn.ModuleList(RMSNorm(dim) for _ in range(3))
        self.mixer = Attention(dim, num_heads=num_heads, causal=True)
        self.across = CrossAttention(dim, num_heads=num_heads)
        self.feed_forward = FeedForward(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, memory: Tensor, *, memory_mask: Tensor, own: Any, across: Any
    ) -> tuple[Tensor, Any, Any]:
        """Return the tokens (B, T, D), and what is kept of them and of the memory.

        Args:
            x: (B, T, D).
            memory: (B, S, D) the other sequence.
            memory_mask: (B, S), True at its real tokens.
            own: What was kept of the tokens before these; None where there are none.
            across: What was kept of the memory; None reads it.
        """
        mixed, own = self.mixer(self.norms[0](x), state=own)
        x = x + self.dropout(mixed)
        found, across = self.across(self.norms[1](x), memory, memory_mask=memory_mask, state=across)
        x = x + self.dropout(found)
        return x + self.dropout(self.feed_forward(self.norms[2](x))), own, across
