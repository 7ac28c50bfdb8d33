"""Class-balanced sampling: every class as often as another, whatever its share of the rows.

Paper: Kang et al. 2020, arXiv:1910.09217, section 3, equation 1 with q = 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mlexpert.blocks.losses.effective_number import counted
from mlexpert.errors import InputError


def class_balanced(
    targets: Tensor, progress: float = 0.0, generator: torch.Generator | None = None
) -> Tensor:
    """Return as many rows (N,) as there are, in an order at random and with repetition.

    Every class that has rows comes equally often, to one row at the most; which row of the class it
    is, is uniform and independent of all others.

    Args:
        targets: (N,) class indices, on the CPU.
        progress: Fraction of training done; this order is the same at any time.
        generator: Of random numbers, on the CPU. None: torch's default one.

    Raises:
        InputError: If rows have shares or labels of several classes.

    Example:
        >>> rows = class_balanced(torch.tensor([0] * 98 + [1] * 2))
        >>> int((rows >= 98).sum())
        50
    """
    require_one_class(targets)
    count = len(targets)
    present, sizes = targets.unique(return_counts=True)  # from the least class to the largest
    by_class, starts = targets.argsort(stable=True), sizes.cumsum(0) - sizes
    # Where N is no multiple of K, it is by chance which classes come once more.
    turns = torch.randperm(len(present), generator=generator).repeat(-(-count // len(present)))
    drawn = turns[:count][torch.randperm(count, generator=generator)]
    # In double precision: 24 bits would leave out rows of a class of millions.
    place = torch.rand(count, dtype=torch.float64, generator=generator) * sizes[drawn]
    return by_class[starts[drawn] + place.long()]


def balanced_log_weight(class_counts: Sequence[int]) -> Tensor:
    """Return log(q_k / pi_k) (K,): what a model of balanced rows has beside the natural prior.

    q is uniform, pi the classes' shares of the rows.

    Args:
        class_counts: (K,) training rows of each class, all above 0.

    Raises:
        InputError: If a class has no training rows.

    Example:
        >>> balanced_log_weight([75, 25]).exp()
        tensor([0.6667, 2.0000])
    """
    counts = counted(class_counts)
    return -(counts * len(counts) / counts.sum()).log().float()


def require_one_class(targets: Tensor) -> None:
    """Refuse targets that are not class indices.

    Raises:
        InputError: Names what they are.
    """
    if targets.ndim != 1 or targets.is_floating_point():
        raise InputError(
            f"Rows are balanced by their class, and these targets are {tuple(targets.shape)} of "
            f"{targets.dtype}; they have to be one class index (int64) a row."
        )
