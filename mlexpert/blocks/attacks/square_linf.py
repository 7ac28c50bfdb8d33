"""Moves of the Square Attack in L-inf: a square of one sign a channel, at the surface of the ball.

Paper: Andriushchenko et al. 2020, arXiv:1912.00049, algorithm 2; the start in section 3.4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlexpert.blocks.attacks import square_moves as moves
from mlexpert.blocks.attacks.square_moves import Bounds
from mlexpert.blocks.attacks.threat import Threat


def _numbers_of_start(shape: torch.Size) -> int:
    return shape[0] if len(shape) == 1 else shape[0] * shape[2]


def _start(threat: Threat, inputs: Tensor, bounds: Bounds, numbers: Tensor) -> Tensor:
    """Return the inputs with vertical stripes of random signs, or with a sign for each column."""
    if inputs.ndim == 4:
        numbers = numbers.view(len(inputs), inputs.shape[1], 1, inputs.shape[3])
    return torch.where(numbers < 0.5, *bounds)


def _numbers_of_move(shape: torch.Size, share: float) -> int:
    return moves.num_columns(shape, share) if len(shape) == 1 else 2 + shape[0]


def _move(
    threat: Threat, inputs: Tensor, bounds: Bounds, best: Tensor, share: float, numbers: Tensor
) -> Tensor:
    """Return the best points, but in a random square at the lower or the upper bound."""
    shape = inputs.shape[1:]
    if inputs.ndim == 2:
        drawn = numbers[:, : moves.num_columns(shape, share)]
        sign = moves.signs_in_columns(shape[0], drawn)
        return torch.where(sign == 0, best, torch.where(sign < 0, *bounds))
    side = moves.side_of_square(shape, share)
    down, across = moves.inside_squares(shape, side, numbers[:, :2])
    rows, columns = ((one >= 0) & (one < side) for one in (down, across))
    # Weights of 0 and 1 are exact, and on a CPU several times as fast as `where` with masks.
    inside = (rows[:, :, None].to(best.dtype) * columns[:, None, :])[:, None]
    ends = torch.lerp(*bounds, (numbers[:, 2:, None, None] >= 0.5).to(best.dtype))
    return torch.lerp(best, ends, inside)


LINF = moves.Moves(_numbers_of_start, _start, _numbers_of_move, _move)
