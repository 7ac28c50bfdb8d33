"""The order in which the rows of a stream come, with boundaries between tasks sharp or blurred.

Paper: Zeno et al. 2018, arXiv:1803.10123, whose tasks change gradually, so that nobody could tell
when one ends.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from mlexpert.errors import InputError


def stream_order(tasks: Tensor, blur: float, generator: torch.Generator) -> Tensor:
    """Draw the order in which the rows of a stream come: by task, shuffled within each.

    Around a boundary, the last blur / 2 of one task and the first blur / 2 of the next are mixed:
    on the way through them, the share of the next task rises from 0 to 1 in a straight line. Each
    row comes once.

    Args:
        tasks: (N,) int64 task of each row, from 0.
        blur: Share of a task's length over which neighbouring tasks mix, in [0, 1]; at 1 only the
            middle of a task is pure.
        generator: The only source of chance, on the CPU.

    Returns:
        (N,) int64 rows, in the order in which they come.

    Raises:
        InputError: `blur` is outside [0, 1].
    """
    if not 0 <= blur <= 1:
        raise InputError(f"blur={blur!r}; it is a share of a task's length, from 0 to 1")
    shuffled = torch.randperm(len(tasks), generator=generator)
    order = shuffled[tasks[shuffled].argsort(stable=True)]
    lengths = [length for length in tasks.bincount().tolist() if length]
    end = 0
    for length, following in pairwise(lengths):
        end += length
        # Rounded down, so that the two windows of a task never overlap.
        before, after = (int(blur * rows / 2 + 1e-9) for rows in (length, following))
        window = order[end - before : end + after]
        window.copy_(window[_crossing(before, after, generator).argsort()])
    return order


def _crossing(before: int, after: int, generator: torch.Generator) -> Tensor:
    """Draw where in [0, 1] the rows of two tasks come in the window that they share.

    Densities 2(1 - x) and 2x, by the inverse of their distributions: their sum is even, and the
    share of the second is x.
    """
    draws = torch.rand(before + after, generator=generator, dtype=torch.float64)
    return torch.cat([1 - (1 - draws[:before]).sqrt(), draws[before:].sqrt()])
