"""Rows as a weighted multiset: a row that is repeated is a row that weighs more, and has no place.

What is fitted on the canonical form does not depend on the order of rows, on whether a row of
weight 2 is written once or twice, or on whether a row of weight 0 is there at all.
"""

from __future__ import annotations

import numpy as np

MOST_REPEATED = 1_000_000
"""Whole-number weights of at most this sum are repetitions; others go into the loss. Repeating
keeps counts, quantiles and steps an epoch what they are for rows that were written out; beyond
this many rows there are enough of all three, and memory counts."""


def canonical(
    digests: np.ndarray, targets: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the rows to fit on, in an order that only their content decides.

    Args:
        digests: (N, 2) uint64, equal where rows are (`row_digests`).
        targets: (N,) numbers: classes or values.
        weights: (N,) float64 of 0 or more, or None where all count alike.

    Returns:
        (M,) indices of rows: each distinct pair of row and target as often as its weights say, in
        sum, with None; or each once, with (M,) those sums.
    """
    weights = np.ones(len(targets)) if weights is None else weights
    # Weights last: floating-point sums depend on their order, which has to be canonical too.
    order = np.lexsort((weights, targets, digests[:, 1], digests[:, 0]))
    order = order[weights[order] > 0]
    content, target = digests[order], targets[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (content[1:] != content[:-1]).any(axis=1) | (target[1:] != target[:-1])
    starts = np.flatnonzero(new)
    first, totals = order[starts], np.add.reduceat(weights[order], starts)
    if (totals == np.floor(totals)).all() and totals.sum() <= MOST_REPEATED:
        return np.repeat(first, totals.astype(np.int64)), None
    return first, None if (totals == totals[0]).all() else totals
