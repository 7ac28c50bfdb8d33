"""Class weights by the effective number of rows: the next row of a class tells less than the last.

Paper: Cui et al. 2019, arXiv:1901.05555, equations 2 and 10.
Differs from the paper: the mean of the weights over the training rows is 1, where the paper's sum
to K. The loss keeps its scale, and with it the learning rate its meaning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mlexpert.errors import InputError


def effective_number_weights(class_counts: Sequence[int], *, beta: float = 0.9999) -> Tensor:
    """Return weights in proportion to (1 - beta) / (1 - beta^n), of mean 1 over the training rows.

    Args:
        class_counts: (K,) training rows n of each class, all above 0.
        beta: From 0, where all weights are 1, to just below 1, where they are the inverse of the
            classes' frequencies. 1 / (1 - beta) is the number of rows beyond which more of them
            hardly count.

    Returns:
        (K,) weights, float32.

    Raises:
        InputError: If a class has no training rows, or `beta` is not in [0, 1).

    Example:
        >>> effective_number_weights([90, 10], beta=0.0).tolist()
        [1.0, 1.0]
        >>> effective_number_weights([90, 10], beta=0.9999)
        tensor([0.5567, 4.9900])
    """
    if not 0 <= beta < 1:
        raise InputError(f"beta={beta!r}; it has to be 0 or more and below 1.")
    counts = counted(class_counts)
    # 1 - beta^n loses its digits where n is small and beta near 1.
    inverse = 1 / -torch.expm1(counts * (math.log(beta) if beta else -math.inf))
    return (inverse * counts.sum() / (inverse * counts).sum()).float()


def counted(class_counts: Sequence[float]) -> Tensor:
    """Return counts (K,) in float64.

    Raises:
        InputError: If there are no classes, or a class has no training rows.
    """
    counts = torch.as_tensor(class_counts, dtype=torch.float64)
    if not len(counts) or not counts.min() > 0:
        raise InputError(
            f"every class needs at least one training row, got counts {list(class_counts)}"
        )
    return counts
