"""Herding: the rows whose mean, after any number of them, is nearest to the mean of all.

Paper: Rebuffi et al. 2017, arXiv:1611.07725, algorithm 4 (iCaRL's exemplars), after Welling 2009,
doi:10.1145/1553374.1553517.
Differs from the paper: no row is chosen twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlexpert.errors import InputError


def herding(features: Tensor, count: int) -> Tensor:
    """Return rows in the order of their choice: the first m are the exemplars of a smaller memory.

    The k-th is the one that brings the mean of the first k nearest to the mean of all rows.

    Args:
        features: (N, F) of the rows of one class; iCaRL scales each to length 1 first.
        count: Rows to choose; all of them, in order, where that is N or more.

    Returns:
        (min(count, N),) row numbers, none twice. Of equally good rows, the first.

    Raises:
        InputError: If features are not (N, F), or not finite.

    Example:
        >>> herding(torch.tensor([[0.0], [1.0], [5.0]]), 2).tolist()
        [1, 2]
    """
    if features.ndim != 2 or not features.isfinite().all():
        raise InputError(f"features {tuple(features.shape)}; herding takes finite numbers (N, F)")
    # Double precision: what is nearly equal is then chosen alike by any kernel.
    rows = features.double()
    mean, length = rows.mean(dim=0), rows.square().sum(dim=1)
    total, order = torch.zeros_like(mean), []
    for k in range(1, min(count, len(rows)) + 1):
        # |k mean - total - row|^2, less what all rows have in common.
        distance = length - 2 * rows @ (k * mean - total)
        chosen = distance.argmin()
        length[chosen] = torch.inf
        total = total + rows[chosen]
        order.append(chosen)
    return torch.stack(order) if order else torch.empty(0, dtype=torch.int64, device=rows.device)
