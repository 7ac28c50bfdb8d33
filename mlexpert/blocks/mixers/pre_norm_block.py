"""A residual block around any mixer: norm, mix, add; norm, feed forward, add.

Paper: Xiong et al. 2020, arXiv:2002.04745, table 1 (norm before every sublayer).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.rms_norm import RMSNorm


class PreNormBlock(nn.Module):
    """Adds to tokens (B, T, D) what a mixer, then a feed-forward layer, make of them.

    Args:
        mixer: Any module of the mixers' signature.
        feed_forward: Maps (B, T, D) to (B, T, D); None leaves it out, as selective state space
            models do.
        dim: Features D of a token.
        norm: Makes a norm from `dim`.
        dropout: Share of each sublayer's features dropped in training.

    Example:
        >>> block = PreNormBlock(Attention(32, num_heads=4), SwiGLU(32), dim=32)
        >>> y, state = block(torch.randn(2, 5, 32))
    """

    def __init__(
        self,
        mixer: nn.Module,
        feed_forward: nn.Module | None,
        *,
        dim: int,
        norm: Callable[[int], nn.Module] = RMSNorm,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.mixer_norm, self.mixer = norm(dim), mixer
        self.feed_forward_norm = None if feed_forward is None else norm(dim)
        self.feed_forward = feed_forward
        self.dropout = nn.Dropout(dropout)

    def init_state(
        self,
        batch_size: int,
        max_length: int,
        *,
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> Any:
        """Return the mixer's empty state.

        Raises:
            ValueError: If the mixer cannot go on from a state.
        """
        return self.mixer.init_state(batch_size, max_length, device=device, dtype=dtype)  # type: ignore[operator]

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
        state: Any = None,
    ) -> tuple[Tensor, Any]:
        """Return the tokens (B, T, D) and the mixer's state behind them.

        Args:
            x: (B, T, D).
            mask: (B, T), True at real tokens; None where all are.
            positions: (B, T) int64; a real token at 0 begins a document. None counts real tokens.
            state: Of the tokens before these; None where there are none.
        """
        mixed, state = self.mixer(self.mixer_norm(x), mask=mask, positions=positions, state=state)
        x = x + self.dropout(mixed)
        if self.feed_forward is not None and self.feed_forward_norm is not None:
            x = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return x, state
