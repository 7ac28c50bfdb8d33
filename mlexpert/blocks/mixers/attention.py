"""Self-attention with rotary positions, grouped queries, normed queries and keys, and a window.

Papers: Vaswani et al. 2017, arXiv:1706.03762, equation 1; Su et al. 2021, arXiv:2104.09864
(rotary); Ainslie et al. 2023, arXiv:2305.13245 (grouped queries); Henry et al. 2020,
arXiv:2010.04245 (normed queries and keys); Beltagy et al. 2020, arXiv:2004.05150 (window).
Differs from the papers: queries and keys are normed by their root mean square, without a weight.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.rms_norm import rms_norm
from mlexpert.blocks.mixers.attending import attend
from mlexpert.blocks.mixers.kv_cache import KvCache
from mlexpert.blocks.mixers.masks import attention_mask, positions_of
from mlexpert.blocks.mixers.rotary import turned, turns


class Attention(nn.Module):
    """Mixes tokens (B, T, D) by attention; its state is a cache of keys and values.

    Args:
        dim: Features D of a token.
        num_heads: Heads of queries; they divide `dim`.
        num_kv_heads: Heads of keys and values, each shared by as many heads of queries; None has
            one for each.
        causal: Whether a token sees only itself and those before it.
        rotary: Whether queries and keys turn with their positions.
        qk_norm: Whether every head's queries and keys are normed before that.
        window: A token sees those fewer than so many positions away; None sees all.
        dropout: Share of attention weights dropped in training.
        bias: Whether the projections have biases.

    Raises:
        ValueError: If the heads do not divide.

    Example:
        >>> mixer = Attention(32, num_heads=4)
        >>> mixer(torch.randn(2, 5, 32))[0].shape
        torch.Size([2, 5, 32])
    """

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        num_kv_heads: int | None = None,
        causal: bool = True,
        rotary: bool = True,
        qk_norm: bool = False,
        window: int | None = None,
        dropout: float = 0.0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        groups = num_heads if num_kv_heads is None else num_kv_heads
        if dim % num_heads or num_heads % groups:
            raise ValueError(
                f"num_heads={num_heads} must divide dim={dim}, and num_kv_heads={groups} num_heads"
            )
        self.num_heads, self.num_kv_heads, self.head_size = num_heads, groups, dim // num_heads
        self.causal, self.rotary, self.qk_norm = causal, rotary, qk_norm
        self.window, self.dropout = window, dropout
        self.project_in = nn.Linear(dim, (num_heads + 2 * groups) * self.head_size, bias=bias)
        self.project_out = nn.Linear(dim, dim, bias=bias)

    def init_state(
        self, batch_size: int, max_length: int, *, device: torch.device | str, dtype: torch.dtype
    ) -> KvCache:
        """Return an empty cache with room for `max_length` tokens.

        Raises:
            ValueError: If the attention is not causal: what it said of earlier tokens would change.
        """
        if not self.causal:
            raise ValueError("only causal attention goes on from a state")
        sizes = (batch_size, self.num_kv_heads, max_length, self.head_size)
        return KvCache.empty(*sizes, device=device, dtype=dtype, rotary=self.rotary)

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
        state: KvCache | None = None,
    ) -> tuple[Tensor, KvCache | None]:
        """Return the mixed tokens (B, T, D) and the state behind them.

        Args:
            x: (B, T, D).
            mask: (B, T), True at real tokens; None where all are. What is returned at padding is
                finite and means nothing.
            positions: (B, T) int64; a real token at 0 begins a document. None counts real tokens.
            state: Of the tokens before these; None where there are none.
        """
        plain = mask is None and positions is None
        if plain and state is not None and state.plain:  # token by token, each operation counts
            places, known = None, state.next_turns(x.shape[1])
        else:
            places = _places(x, mask, positions, state)
            known = turns(places, self.head_size) if self.rotary else None
        q, k, v = self._heads(x, known)
        if state is None:
            seen = attention_mask(
                mask,
                places if plain and self.window is not None else positions,
                causal=self.causal,
                window=self.window,
            )
        else:
            state = state.append(k, v, positions=places, mask=mask)
            k, v, seen = state.recall(x.shape[1], window=self.window)
        mixed = attend(
            q,
            k.to(q.dtype),
            v.to(q.dtype),
            seen=seen,
            # One query is the last token: it may see every key there is.
            causal=self.causal and x.shape[1] > 1,
            dropout=self.dropout if self.training else 0.0,
        )
        return self.project_out(mixed.transpose(1, 2).flatten(2)), state

    def _heads(
        self, x: Tensor, known: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (B, H, T, D / H), and keys and values (B, G, T, D / H)."""
        heads = self.project_in(x).unflatten(-1, (-1, self.head_size))
        if self.num_kv_heads == self.num_heads:
            # Heads before tokens and the three kinds outermost: copied once, then all in one piece.
            kinds = heads.unflatten(2, (3, -1)).permute(2, 0, 3, 1, 4).contiguous()
            compared, (v,) = kinds.split((2, 1))
            q, k = self._placed(compared, known)
            return q, k, v
        counts = [self.num_heads, self.num_kv_heads, self.num_kv_heads]
        q, k, v = heads.transpose(1, 2).split(counts, dim=1)
        return self._placed(q, known), self._placed(k, known), v

    def _placed(self, heads: Tensor, known: tuple[Tensor, Tensor] | None) -> Tensor:
        """Return queries or keys (..., B, H, T, D / H) as they are compared."""
        heads = rms_norm(heads) if self.qk_norm else heads
        return heads if known is None else turned(heads, *known)


def _places(
    x: Tensor, mask: Tensor | None, positions: Tensor | None, state: KvCache | None
) -> Tensor:
    """Return the positions (B, T) or (1, T) of the tokens."""
    if positions is not None:
        return positions
    if state is not None:
        return state.next_positions(x.shape[1], mask)
    if mask is not None:
        return positions_of(mask)
    return torch.arange(x.shape[1], device=x.device).unsqueeze(0)
