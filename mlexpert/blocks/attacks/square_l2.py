"""Moves of the Square Attack in L2: the length in two squares goes into a bump in one of them.

Paper: Andriushchenko et al. 2020, arXiv:1912.00049, algorithm 3; the bump and the start in
section 3.5.
Differs from the paper: in rows of tables, random columns with random signs are the bump.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from mlexpert.blocks.attacks import square_moves as moves
from mlexpert.blocks.attacks.square_moves import Bounds
from mlexpert.blocks.attacks.threat import SMALLEST, Threat

LEAST_SIDE = 3
TILES = 5
"""Bumps in a row, and in a column, of the start."""


@cache
def bump(side: int, *, device: torch.device) -> Tensor:
    """Return the pattern (side, side) of length 1: a pyramid up, beside a pyramid down."""
    half = side // 2
    parts = [_pyramid(side, half, device), -_pyramid(side, side - half, device)]
    pattern = torch.cat(parts, dim=1)
    return pattern / pattern.norm().clamp_min(SMALLEST)


def _pyramid(height: int, width: int, device: torch.device) -> Tensor:
    """Return (height, width): rectangles around the middle add up, ring k from it 1 / (k + 1)^2."""
    pattern = torch.zeros(height, width, device=device)
    rings = height // 2 + 1
    for ring in range(rings):
        top, left = max(height // 2 - ring, 0), max(width // 2 - ring, 0)
        pattern[top : height // 2 + ring + 1, left : width // 2 + ring + 1] += 1 / (ring + 1) ** 2
    return pattern


def _numbers_of_start(shape: torch.Size) -> int:
    return shape[0] if len(shape) == 1 else TILES * TILES * shape[0]


def _start(threat: Threat, inputs: Tensor, bounds: Bounds, numbers: Tensor) -> Tensor:
    """Return the inputs with a bump in each tile of a grid, of random sign in each channel."""
    sign = moves.signs(numbers)
    if inputs.ndim == 2:
        return _at_surface(threat, inputs, sign)
    channels, height, width = inputs.shape[1:]
    side = max(min(height, width) // TILES, 1)
    sign = sign.view(len(inputs), channels, TILES, TILES)[:, :, : height // side, : width // side]
    tiles = torch.kron(sign, bump(side, device=inputs.device))
    change = torch.zeros_like(inputs)
    rows, columns = min(height, tiles.shape[2]), min(width, tiles.shape[3])
    change[:, :, :rows, :columns] = tiles[:, :, :rows, :columns].to(inputs.dtype)
    return _at_surface(threat, inputs, change)


def _numbers_of_move(shape: torch.Size, share: float) -> int:
    return 2 * moves.num_columns(shape, share) if len(shape) == 1 else 5 + shape[0]


def _move(
    threat: Threat, inputs: Tensor, bounds: Bounds, best: Tensor, share: float, numbers: Tensor
) -> Tensor:
    """Return the points to try: what two regions had of the ball, and what was left, in the first.

    Lengths are of each channel.
    """
    change = best - inputs
    draw = _columns if inputs.ndim == 2 else _squares
    bumps, first, second = draw(inputs.shape[1:], share, numbers)
    spatial = tuple(range(min(2, inputs.ndim - 1), inputs.ndim))
    channels = 1 if inputs.ndim == 2 else inputs.shape[1]

    def length(values: Tensor, dims: tuple[int, ...] = spatial) -> Tensor:
        return values.square().sum(dim=dims, keepdim=True).sqrt()

    held = change * first
    direction = bumps.to(inputs.dtype) + held / length(held).clamp_min(SMALLEST)
    left = float(threat.epsilon) ** 2 - length(change, tuple(range(1, inputs.ndim))).square()
    of_both = length(change * (first | second)).square()
    budget = (left.clamp_min(0) / channels + of_both).sqrt()
    moved = direction * (budget / length(direction).clamp_min(SMALLEST))
    return _at_surface(threat, inputs, torch.where(first, moved, change * ~second))


def _squares(shape: torch.Size, share: float, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return bumps (B, C, H, W) in one square, and masks (B, 1, H, W) of it and of another."""
    side = max(moves.side_of_square(shape, share), LEAST_SIDE) | 1
    side = min(side, *shape[-2:])
    down, across = moves.inside_squares(shape, side, numbers[:, :2])
    first = moves.mask_of_squares(down, across, side)
    second = moves.mask_of_squares(*moves.inside_squares(shape, side, numbers[:, 2:4]), side)
    pattern = bump(side, device=numbers.device)
    both = torch.stack([pattern, pattern.T])  # the two halves beside, or above, each other
    rows, columns = down.clamp(0, side - 1), across.clamp(0, side - 1)
    turned = moves.below(numbers[:, 4], 2)
    placed = both[turned[:, None, None], rows[:, :, None], columns[:, None, :]]
    signs = moves.signs(numbers[:, 5 : 5 + shape[0], None, None])
    return placed[:, None] * first * signs, first, second


def _columns(shape: torch.Size, share: float, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return signs (B, D) of length 1 in some columns, and masks (B, D) of them and of others."""
    num = moves.num_columns(shape, share)
    signs = moves.signs_in_columns(shape[0], numbers[:, :num])
    other = moves.signs_in_columns(shape[0], numbers[:, num : 2 * num])
    length = signs.norm(dim=1, keepdim=True).clamp_min(SMALLEST)
    return signs / length, signs != 0, other != 0


def _at_surface(threat: Threat, inputs: Tensor, change: Tensor) -> Tensor:
    """Return the inputs changed by as much as the ball allows, inside the box."""
    flat = change.flatten(1)
    length = flat.norm(dim=1, keepdim=True).clamp_min(SMALLEST)
    longer = (flat * (2 * float(threat.epsilon) / length)).view_as(inputs)
    return threat.project(inputs + longer, inputs)


L2 = moves.Moves(_numbers_of_start, _start, _numbers_of_move, _move)
