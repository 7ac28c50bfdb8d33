"""A dilated convolution over time, causal or centred.

Paper: Bai et al. 2018, arXiv:1803.01271, equation 2.
Differs from the paper: one convolution without weight norm; norm, nonlinearity and residual are the
block's around it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.mixers.documents import last_columns, over_documents


class ConvState(NamedTuple):
    """The inputs that the convolution still reaches; their number does not grow."""

    recent: Tensor
    """(B, (kernel - 1) dilation, D), the latest last; zeros before the first token."""


class TemporalConv(nn.Module):
    """Mixes every token (B, T, D) with `kernel` tokens, `dilation` apart.

    Args:
        dim: Features D of a token.
        kernel: Tokens that are mixed.
        dilation: Distance between them.
        causal: Whether they end with the token itself; otherwise it stands in their middle.

    Raises:
        ValueError: If an even kernel is to have a middle.
    """

    def __init__(
        self, dim: int, *, kernel: int = 3, dilation: int = 1, causal: bool = True
    ) -> None:
        super().__init__()
        if not causal and kernel % 2 == 0:
            raise ValueError(f"kernel={kernel} has no middle; take an odd one, or causal=True")
        self.causal, self.reach = causal, (kernel - 1) * dilation
        self.conv = nn.Conv1d(dim, dim, kernel, dilation=dilation)

    def init_state(
        self, batch_size: int, max_length: int, *, device: torch.device | str, dtype: torch.dtype
    ) -> ConvState:
        """Return the state before the first token; `max_length` does not matter to its size.

        Raises:
            ValueError: If the convolution is not causal.
        """
        if not self.causal:
            raise ValueError("only a causal convolution goes on from a state")
        shape = (batch_size, self.reach, self.conv.in_channels)
        return ConvState(torch.zeros(shape, device=device, dtype=dtype))

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
        state: ConvState | None = None,
    ) -> tuple[Tensor, ConvState | None]:
        """Return the mixed tokens (B, T, D), zero at padding, and the state behind them.

        Args:
            x: (B, T, D).
            mask: (B, T), True at real tokens; None where all are.
            positions: (B, T) int64; a real token at 0 begins a document. None counts real tokens.
            state: Of the tokens before these; None where there are none.
        """
        return over_documents(self._convolve, x, mask=mask, positions=positions, state=state)

    def _convolve(
        self, x: Tensor, lengths: Tensor | None, state: ConvState | None
    ) -> tuple[Tensor, ConvState | None]:
        if state is None:
            before = self.reach if self.causal else self.reach // 2
            columns = F.pad(x, (0, 0, before, self.reach - before))
            return self.conv(columns.transpose(1, 2)).transpose(1, 2), None
        columns = torch.cat([state.recent.to(x.dtype), x], dim=1)
        recent = last_columns(columns, lengths, self.reach)
        return self.conv(columns.transpose(1, 2)).transpose(1, 2), ConvState(recent)
