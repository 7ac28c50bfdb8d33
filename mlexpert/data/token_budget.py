"""Batches of as many tokens, instead of as many rows: long sequences come few at a time.

Rows whose lengths are alike share a bucket. Its batches have as many rows as the budget allows at
the bucket's upper end, so that what pads them is little and no batch needs more than the budget. An
epoch has the same number of batches whatever its order: a schedule can count on it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

GROWTH = 1.15
"""From the upper end of a bucket to that of the next: at most about so much of a batch pads it."""


def cut_by_tokens(order: Tensor, lengths: Tensor, budget: int) -> list[Tensor]:
    """Cut an order of rows into batches of one bucket each, of at most `budget` tokens.

    Args:
        order: (M,) rows.
        lengths: (N,) tokens of every row.
        budget: Most tokens of a batch, padding included. A row that is longer is a batch of its
            own.

    Returns:
        Batches of rows, bucket by bucket from the shortest; within one, in the order that was
        given.
    """
    ends = bucket_ends(int(lengths.max()) if len(lengths) else 1)
    buckets = torch.searchsorted(ends, lengths[order])
    cuts: list[Tensor] = []
    for bucket in buckets.unique().tolist():
        rows = order[buckets == bucket]
        cuts += rows.split(rows_within(int(ends[bucket]), budget))
    return cuts


def rows_within(length: int, budget: int) -> int:
    """Return how many rows of a length make up a batch: at least one."""
    return max(1, budget // max(1, length))


def bucket_ends(longest: int) -> Tensor:
    """Return the upper ends of the buckets, int64, up to the one that holds the longest row."""
    ends = [1]
    while ends[-1] < longest:
        ends.append(max(ends[-1] + 1, math.ceil(GROWTH * ends[-1])))
    return torch.tensor([*ends[:-1], max(longest, 1)])


def num_batches(lengths: Tensor, budget: int) -> int:
    """Return the batches of an epoch that visits every row once; see `cut_by_tokens`."""
    return len(cut_by_tokens(torch.arange(len(lengths)), lengths, budget))
