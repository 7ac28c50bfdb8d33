"""Attention from one sequence to another, as from a decoder to what the encoder read.

Paper: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.3.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn


class MemoryState(NamedTuple):
    """Keys and values of the memory, computed once for all steps of decoding."""

    keys: Tensor
    """(B, H, S, D / H)."""
    values: Tensor
    """(B, H, S, D / H)."""


class CrossAttention(nn.Module):
    """Mixes into tokens (B, T, D) what they look up in a memory (B, S, D).

    Args:
        dim: Features D of a token and of the memory.
        num_heads: Heads; they divide `dim`.

    Raises:
        ValueError: If they do not.
    """

    def __init__(self, dim: int, *, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide dim={dim}")
        self.num_heads = num_heads
        self.project_query = nn.Linear(dim, dim, bias=False)
        self.project_memory = nn.Linear(dim, 2 * dim, bias=False)
        self.project_out = nn.Linear(dim, dim, bias=False)

    def init_state(self, memory: Tensor) -> MemoryState:
        """Return the keys and values of a memory (B, S, D)."""
        heads = self.project_memory(memory).unflatten(-1, (2, self.num_heads, -1))
        keys, values = heads.permute(2, 0, 3, 1, 4)
        return MemoryState(keys, values)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None,
        *,
        memory_mask: Tensor | None = None,
        state: MemoryState | None = None,
    ) -> tuple[Tensor, MemoryState]:
        """Return what the tokens look up (B, T, D), and the state for the tokens that follow.

        Args:
            x: (B, T, D).
            memory: (B, S, D); not read where a state is given, and may be None then.
            memory_mask: (B, S), True at real tokens; None where all are. A row without any looks
                up zeros.
            state: Keys and values of the memory, from an earlier call or `init_state`.

        Raises:
            ValueError: If neither memory nor state is given.
        """
        if state is None:
            if memory is None:
                raise ValueError("cross-attention needs a memory or the state made of one")
            state = self.init_state(memory)
        q = self.project_query(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        seen = empty = None
        if memory_mask is not None:
            # A softmax over no keys is not a number: such a row sees all, and it is dropped.
            empty = ~memory_mask.any(dim=1)[:, None, None]  # (B, 1, 1)
            seen = (memory_mask[:, None] | empty).unsqueeze(1)  # (B, 1, 1, S)
        keys, values = state.keys.to(q.dtype), state.values.to(q.dtype)
        mixed = F.scaled_dot_product_attention(q, keys, values, attn_mask=seen)
        mixed = mixed.transpose(1, 2).flatten(2)
        if empty is not None:
            mixed = mixed.masked_fill(empty, 0.0)
        return self.project_out(mixed), state
