"""Where a query of the Square Attack moves an input: a square of an image, or some columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mlexpert.blocks.attacks.threat import Threat

Bounds = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Moves:
    """How a search in one norm begins and goes on, and how many random numbers that takes.

    Attributes:
        numbers_of_start: Maps the shape of an input to the number of the start's numbers.
        start: Maps threat, inputs (B, ...), bounds and numbers (B, N) to the start (B, ...).
        numbers_of_move: Maps the shape of an input, and the share of its coordinates that move, to
            the number of a query's numbers.
        move: Maps threat, inputs (B, ...), bounds, the best points so far (B, ...), that share, and
            numbers (B, N) or more to the points (B, ...) to try.
    """

    numbers_of_start: Callable[[torch.Size], int]
    start: Callable[[Threat, Tensor, Bounds, Tensor], Tensor]
    numbers_of_move: Callable[[torch.Size, float], int]
    move: Callable[[Threat, Tensor, Bounds, Tensor, float, Tensor], Tensor]


def signs(numbers: Tensor) -> Tensor:
    """Return -1 or 1 for each number in [0, 1)."""
    return torch.where(numbers < 0.5, -1.0, 1.0)


def below(numbers: Tensor, limit: int) -> Tensor:
    """Return an integer in [0, limit) for each number in [0, 1)."""
    return (numbers * limit).long().clamp_max(limit - 1)


def side_of_square(shape: torch.Size, share: float) -> int:
    """Return the side, in pixels, of a square that covers a share of an image (C, H, W)."""
    height, width = shape[-2:]
    return min(max(round((share * height * width) ** 0.5), 1), height, width)


def inside_squares(shape: torch.Size, side: int, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far each row (B, H) and column (B, W) of pixels is from where a square begins.

    It is inside the square where that is 0 or more, and less than the side. Numbers are (B, 2).
    """
    found = []
    for size, number in zip(shape[-2:], numbers.unbind(1), strict=True):
        first = below(number, size - side + 1)
        found.append(torch.arange(size, device=numbers.device) - first[:, None])
    return found[0], found[1]


def mask_of_squares(down: Tensor, across: Tensor, side: int) -> Tensor:
    """Return (B, 1, H, W) which pixels are inside the squares."""
    rows, columns = (down >= 0) & (down < side), (across >= 0) & (across < side)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def num_columns(shape: torch.Size, share: float) -> int:
    """Return how many columns of a row (D,) a query draws."""
    return max(round(share * shape[0]), 1)


def signs_in_columns(num: int, numbers: Tensor) -> Tensor:
    """Return (B, D) signs, which are 0 but in drawn columns: about one for each number (B, N).

    A column that is drawn twice with different signs stays where it is.
    """
    drawn = below(numbers, 2 * num)
    ends = (drawn % 2 * 2 - 1).to(numbers.dtype)
    zeros = torch.zeros(len(numbers), num, dtype=numbers.dtype, device=numbers.device)
    return zeros.scatter_add(1, drawn // 2, ends).sign()
