"""Balanced bags: samples of the rows in which every class has as many as the rarest.

Papers: Liu et al. 2009, doi:10.1109/TSMCB.2008.2007853, algorithm EasyEnsemble (each bag has all
rows of the rarest class and as many of every other, without repetition); Chen, Liaw and Breiman
2004, "Using random forest to learn imbalanced data", section 3.1 (all are drawn with repetition).
"""

from __future__ import annotations

import torch
from torch import Tensor


def balanced_bags(
    targets: Tensor,
    num_classes: int,
    num_bags: int,
    generator: torch.Generator,
    *,
    bootstrap: bool = False,
) -> Tensor:
    """Return how often each row is in each bag.

    Args:
        targets: (N,) class indices.
        num_classes: Classes, K. A class without rows is in no bag.
        num_bags: Bags, M.
        generator: Of random numbers, on the CPU.
        bootstrap: Whether rows are drawn with repetition, those of the rarest class as well.

    Returns:
        (N, M) counts, int16: over the rows of a class, each bag's are as many as the rarest class
        has rows.

    Example:
        >>> bags = balanced_bags(torch.tensor([0, 0, 0, 1]), 2, 5, torch.Generator())
        >>> bags[:3].sum(dim=0).tolist(), bags[3].tolist()
        ([1, 1, 1, 1, 1], [1, 1, 1, 1, 1])
    """
    targets = targets.cpu()
    counts = torch.zeros(len(targets), num_bags, dtype=torch.int16)
    classes = [(targets == label).nonzero().flatten() for label in range(num_classes)]
    rarest = min(len(rows) for rows in classes if len(rows))
    for rows in classes:
        if not len(rows):
            continue
        if bootstrap:
            size = (num_bags, rarest)
            drawn = torch.randint(len(rows), size, generator=generator)
        else:
            drawn = torch.rand(num_bags, len(rows), generator=generator).topk(rarest).indices
        ones = torch.ones_like(drawn, dtype=torch.int16)
        own = torch.zeros(num_bags, len(rows), dtype=torch.int16).scatter_add_(1, drawn, ones)
        counts[rows] = own.T
    return counts


def bagged_order(counts: Tensor, generator: torch.Generator) -> Tensor:
    """Return as many rows (N,) as there are, all of them from some bag.

    Every row of a bag is as likely to be visited as another, about N / N' times where N' rows are
    in bags, so a loss that is weighted by `counts` (N, M) has the mean over the bags for its
    expectation.

    Args:
        counts: (N, M) how often each row is in each bag, at any scale, on the CPU.
        generator: Of random numbers, on the CPU.
    """
    inside = counts.any(dim=1).nonzero().flatten()
    rounds = -(-len(counts) // len(inside))
    drawn = [inside[torch.randperm(len(inside), generator=generator)] for _ in range(rounds)]
    return torch.cat(drawn)[: len(counts)]
