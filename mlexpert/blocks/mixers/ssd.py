"""Mamba-2: a state space model whose memory fades as the input says, in matrix products.

Within a chunk of Q tokens it is attention without a softmax, under a mask of decays; between chunks
a state (N, P) per head is carried on. A step of decoding is the recurrence itself.

Paper: Dao & Gu 2024, arXiv:2405.21060, equation 16 and section 6 (the chunked form, listing 1) and
section 7 (the block: short convolution, gate and norm).
Differs from the paper: one group of B and C for all heads.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.layers.rms_norm import rms_norm
from mlexpert.blocks.mixers.documents import last_columns, over_documents
from mlexpert.blocks.mixers.ssd_scan import scan, step

KERNEL = 4
"""Tokens of the short convolution, as in the paper."""


class SsdState(NamedTuple):
    """What is kept of each row; its size does not grow."""

    recent: Tensor
    """(B, 3, E + 2 N), the latest inputs of the short convolution."""
    hidden: Tensor
    """(B, N, H, P) float32, the memory."""


class Ssd(nn.Module):
    """Mixes tokens (B, T, D) by H selective state spaces; it brings its own gate and width.

    Args:
        dim: Features D of a token.
        num_heads: Heads H; they divide the E = `expand` D inner features into P each.
        state_size: N, numbers that a head keeps of each of its features.
        expand: Inner features, as a multiple of `dim`.
        chunk: Tokens that are mixed by one product.

    Raises:
        ValueError: If the heads do not divide.
    """

    def __init__(
        self, dim: int, *, num_heads: int, state_size: int = 64, expand: int = 2, chunk: int = 64
    ) -> None:
        super().__init__()
        inner = expand * dim
        if inner % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide {expand} x {dim} features")
        self.inner, self.state_size, self.num_heads, self.chunk = (
            inner,
            state_size,
            num_heads,
            chunk,
        )
        width = inner + 2 * state_size
        self.project_in = nn.Linear(dim, inner + width + num_heads, bias=False)
        bound = KERNEL**-0.5
        self.conv_weight = nn.Parameter(torch.empty(width, 1, 1, KERNEL).uniform_(-bound, bound))
        self.conv_bias = nn.Parameter(torch.zeros(width))
        # One dimension each, so that they are not decayed. Steps start in [.001, .1], decay in
        # [1, 16]; softplus(step_bias) is the step where the projection says nothing.
        steps = torch.empty(num_heads).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        self.step_bias = nn.Parameter(steps + (-(-steps).expm1()).log())
        self.log_decay = nn.Parameter(torch.empty(num_heads).uniform_(1.0, 16.0).log())
        self.skip = nn.Parameter(torch.ones(num_heads))
        self.norm_weight = nn.Parameter(torch.ones(inner))
        self.project_out = nn.Linear(inner, dim, bias=False)

    def init_state(
        self, batch_size: int, max_length: int, *, device: torch.device | str, dtype: torch.dtype
    ) -> SsdState:
        """Return the state before the first token; the memory is fp32 whatever is asked for."""
        width, heads = self.inner + 2 * self.state_size, self.num_heads
        shape = (batch_size, self.state_size, heads, self.inner // heads)
        return SsdState(
            torch.zeros(batch_size, KERNEL - 1, width, device=device, dtype=dtype),
            torch.zeros(shape, device=device, dtype=torch.float32),
        )

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
        state: SsdState | None = None,
    ) -> tuple[Tensor, SsdState | None]:
        """Return the mixed tokens (B, T, D), zero at padding, and the state behind them.

        Args:
            x: (B, T, D).
            mask: (B, T), True at real tokens; None where all are.
            positions: (B, T) int64; a real token at 0 begins a document. None counts real tokens.
            state: Of the tokens before these; None where there are none.
        """
        return over_documents(self._mix, x, mask=mask, positions=positions, state=state)

    def _mix(
        self, x: Tensor, lengths: Tensor | None, state: SsdState | None
    ) -> tuple[Tensor, SsdState | None]:
        width = self.inner + 2 * self.state_size
        gate, mixed, steps = self.project_in(x).split([self.inner, width, self.num_heads], dim=-1)
        before = None if state is None else state.recent.to(mixed.dtype)
        mixed, recent = self._convolve(mixed, before, lengths)
        sizes = [self.inner, self.state_size, self.state_size]
        values, writes, reads = mixed.split(sizes, dim=-1)
        values = values.unflatten(-1, (self.num_heads, -1))  # (B, T, H, P)
        steps = F.softplus(steps.float() + self.step_bias)  # (B, T, H)
        if lengths is not None and state is not None:
            # A step of no time leaves the memory as it is.
            columns = torch.arange(x.shape[1], device=x.device).unsqueeze(0)
            steps = steps.masked_fill((columns >= lengths.unsqueeze(1)).unsqueeze(-1), 0.0)
        decays = -self.log_decay.float().exp() * steps
        inputs = (values, steps, decays, writes, reads)
        if state is None:
            answers, _ = scan(*inputs, chunk=self.chunk)
        elif x.shape[1] == 1:
            answers, hidden = step(*inputs, state.hidden)
        else:
            answers, hidden = scan(*inputs, state.hidden, chunk=self.chunk)
        answers = answers + self.skip.to(values.dtype).unsqueeze(-1) * values
        gated = answers.flatten(2) * F.silu(gate)
        normed = rms_norm(gated) * self.norm_weight.to(gated.dtype)
        return self.project_out(normed), None if state is None else SsdState(recent, hidden)

    def _convolve(
        self, x: Tensor, before: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the short causal convolution (B, T, .) of each feature, and its latest inputs."""
        if before is None:
            columns = F.pad(x, (0, 0, KERNEL - 1, 0))
            recent = columns[:, :0]
        else:
            columns = torch.cat([before, x], dim=1)
            recent = last_columns(columns, lengths, KERNEL - 1)
        # As an image of height 1, its channels last as they lie: on a CPU quicker than in one
        # dimension, and than four shifted products.
        image = columns.transpose(1, 2).unsqueeze(2).contiguous(memory_format=torch.channels_last)
        mixed = F.conv2d(image, self.conv_weight, self.conv_bias, groups=x.shape[2])
        return F.silu(mixed.squeeze(2).transpose(1, 2)), recent
