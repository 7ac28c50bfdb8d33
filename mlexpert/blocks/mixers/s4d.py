"""A diagonal state space model: a long convolution in training, a small recurrence afterwards.

Every feature drives N / 2 damped oscillations x' = A x + u and reads 2 Re(C x). Sampled with a step
of its own that is a linear recurrence, and over a whole sequence a convolution by its impulse
response.

Paper: Gu et al. 2022, arXiv:2206.11893, equations 2 and 3 (S4D), 9 (A = -1/2 + i pi n, S4D-Lin).
Differs from the paper: the response is computed from two short tables of powers, as a product of
matrices, instead of one long table: 2 sqrt(T) exponentials of each oscillation instead of T.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.mixers.documents import over_documents
from mlexpert.blocks.mixers.s4d_recurrence import convolve, go_on, response


class S4DState(NamedTuple):
    """The oscillations of each feature; their number does not grow."""

    hidden: Tensor
    """(B, D, N / 2) complex64."""


class S4D(nn.Module):
    """Mixes tokens (B, T, D) by one long causal convolution of each feature, then a gated layer.

    Args:
        dim: Features D of a token.
        state_size: N, twice the oscillations of a feature.

    Raises:
        ValueError: If `state_size` is odd.
    """

    def __init__(self, dim: int, *, state_size: int = 64) -> None:
        super().__init__()
        if state_size % 2:
            raise ValueError(f"state_size={state_size} counts oscillations twice, and is odd")
        self.dim, self.num_modes = dim, state_size // 2
        # Kept flat: what has one dimension is not decayed, and these must not be (section 4.3).
        self.log_step = nn.Parameter(torch.empty(dim).uniform_(math.log(1e-3), math.log(1e-1)))
        self.log_damping = nn.Parameter(torch.full((dim * self.num_modes,), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(self.num_modes).float().repeat(dim))
        self.reading = nn.Parameter(torch.randn(dim, self.num_modes, 2) * 0.5**0.5)
        self.skip = nn.Parameter(torch.randn(dim))
        self.project_out = nn.Linear(dim, 2 * dim)

    def init_state(
        self, batch_size: int, max_length: int, *, device: torch.device | str, dtype: torch.dtype
    ) -> S4DState:
        """Return the state before the first token; it is complex64 whatever the type asked for."""
        shape = (batch_size, self.dim, self.num_modes)
        return S4DState(torch.zeros(shape, device=device, dtype=torch.complex64))

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
        state: S4DState | None = None,
    ) -> tuple[Tensor, S4DState | None]:
        """Return the mixed tokens (B, T, D), zero at padding, and the state behind them.

        Args:
            x: (B, T, D).
            mask: (B, T), True at real tokens; None where all are.
            positions: (B, T) int64; a real token at 0 begins a document. None counts real tokens.
            state: Of the tokens before these; None where there are none.
        """
        return over_documents(self._mix, x, mask=mask, positions=positions, state=state)

    def _mix(
        self, x: Tensor, lengths: Tensor | None, state: S4DState | None
    ) -> tuple[Tensor, S4DState | None]:
        with torch.autocast(x.device.type, enabled=False):  # powers of numbers near 1 need fp32
            inputs = x.float().transpose(1, 2)  # (B, D, T)
            rates, gains, reading = self._sampled()
            if state is None:
                mixed = convolve(inputs, response(rates, reading * gains, inputs.shape[2]))
            else:
                mixed, hidden = go_on(inputs, lengths, state.hidden, rates, gains, reading)
                state = S4DState(hidden)
            mixed = F.gelu(mixed + self.skip.unsqueeze(1) * inputs).transpose(1, 2).to(x.dtype)
        return F.glu(self.project_out(mixed), dim=-1), state

    def _sampled(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return log of the factor of one step, what an input adds, and how it is read (D, N/2)."""
        shape = (self.dim, self.num_modes)
        poles = torch.complex(-self.log_damping.float().exp(), self.frequency.float()).view(shape)
        rates = poles * self.log_step.float().exp().unsqueeze(1)
        # An input is held for the step (zero-order hold): the integral of exp(A t) over it.
        return rates, (rates.exp() - 1) / poles, 2 * torch.view_as_complex(self.reading.float())
