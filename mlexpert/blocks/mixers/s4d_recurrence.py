"""The recurrence of a diagonal state space model: as a convolution, or going on from a state.

x_t = exp(rates) x_{t-1} + gains u_t and y_t = Re(reading x_t), for N / 2 modes of each feature.

Paper: Gu et al. 2022, arXiv:2206.11893, equations 3 and 4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

PIECE = 64
"""Tokens that are read at once where a state is carried on: it bounds the memory of a long text."""


def response(rates: Tensor, weights: Tensor, length: int) -> Tensor:
    """Return Re sum_n weights_n exp(rates_n t) of (D, N/2) for t = 0, 1, ... as (D, length)."""
    side = math.isqrt(length - 1) + 1  # t = side i + j
    steps = torch.arange(side, device=rates.device)
    inner = (rates.unsqueeze(-1) * steps).exp()  # (D, N/2, j)
    outer = weights.unsqueeze(-1) * (rates.unsqueeze(-1) * (side * steps)).exp()  # (D, N/2, i)
    outer, inner = torch.cat([outer.real, -outer.imag], 1), torch.cat([inner.real, inner.imag], 1)
    return (outer.mT @ inner).flatten(1)[:, :length]


def convolve(inputs: Tensor, response: Tensor) -> Tensor:
    """Return the causal convolution of (B, D, T) by (D, T)."""
    length = inputs.shape[2]
    size = 2 * length  # room for both: what wraps around would be seen too early
    spectrum = torch.fft.rfft(inputs, size) * torch.fft.rfft(response, size)
    return torch.fft.irfft(spectrum, size)[..., :length]


def go_on(
    inputs: Tensor,
    lengths: Tensor | None,
    hidden: Tensor,
    rates: Tensor,
    gains: Tensor,
    reading: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the answers (B, D, T) to inputs that follow a state (B, D, N/2), and the state then.

    The recurrence x_t = exp(rates) x_{t-1} + gains u_t, several steps at once.
    """
    answers, total = [], inputs.shape[2]
    lengths = (
        torch.full(inputs.shape[:1], total, device=inputs.device) if lengths is None else lengths
    )
    for first in range(0, total, PIECE):
        piece = inputs[..., first : first + PIECE]
        size = piece.shape[2]
        steps = torch.arange(size, device=inputs.device)
        powers = (rates.unsqueeze(-1) * steps).exp()  # (D, N/2, t)
        carried = torch.einsum("bdn,dnt->bdt", hidden * rates.exp() * reading, powers).real
        fresh = (
            piece * response(rates, reading * gains, 1)
            if size == 1
            else convolve(piece, response(rates, reading * gains, size))
        )
        answers.append(carried + fresh)
        read = (lengths - first).clamp(0, size)  # (B,) tokens of this piece
        age = read.unsqueeze(1) - 1 - steps  # (B, t): inputs from the last to the first
        latest = piece.gather(2, age.clamp(min=0).unsqueeze(1).expand_as(piece))
        latest = latest.masked_fill((age < 0).unsqueeze(1), 0.0).to(powers.dtype)
        added = torch.einsum("bdt,dnt->bdn", latest, powers) * gains
        hidden = hidden * (rates * read[:, None, None]).exp() + added
    return torch.cat(answers, dim=2), hidden
