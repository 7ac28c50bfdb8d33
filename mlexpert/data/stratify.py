"""Deal rows into parts: classes in proportion, and whatever belongs together on one side.

Rows that must stay together (of one group, or equal in content) form a *unit*. Units of several
rows are dealt first, largest first, each to the part where it does least harm to the class
proportions; single rows then fill every class up to its quota. Without units of several rows the
quotas are therefore met exactly.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from mlexpert.errors import InputError


def number_groups(groups: np.ndarray) -> np.ndarray:
    """Number the groups of rows.

    Args:
        groups: (N,) values of any type.

    Returns:
        (N,) int64 from 0 upwards; equal groups have equal numbers.

    Raises:
        InputError: If a group is missing.
    """
    import pandas as pd

    codes = pd.factorize(groups)[0]
    missing = np.flatnonzero(codes < 0)
    if len(missing):
        raise InputError(
            f"{len(missing)} rows have no group (first at row {missing[0]}): give every row a "
            "group or drop these rows"
        )
    return codes


def link_rows(contents: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Number the units of rows that share a content or a group, directly or through others.

    Args:
        contents: (N,) number of each row's content, from 0 upwards.
        groups: (N,) number of each row's group, from 0 upwards, or None.

    Returns:
        (N,) number of each row's unit, from 0 upwards without gaps.
    """
    if groups is None:
        return np.unique(contents, return_inverse=True)[1]
    offset = int(contents.max()) + 1
    nodes = offset + int(groups.max()) + 1
    edges = (np.ones(len(contents), dtype=bool), (contents, groups + offset))
    labels = connected_components(sparse.coo_matrix(edges, shape=(nodes, nodes)), directed=False)[1]
    return np.unique(labels[contents], return_inverse=True)[1]


def count_units(units: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return (K,) the number of units in which each class occurs."""
    pairs = np.unique(np.stack([classes, units], axis=1), axis=0)
    return np.bincount(pairs[:, 0], minlength=int(classes.max()) + 1)


def quotas(counts: np.ndarray, fractions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Divide the rows of each class between the parts.

    Args:
        counts: (K,) rows of each class, each at least P.
        fractions: (P,) share of each part; they sum to 1.
        rng: Breaks ties between equal remainders.

    Returns:
        (K, P) int64 that sum to `counts`: largest remainders, and at least one row everywhere.
    """
    result = _round_rows(counts[:, None] * fractions[None, :], counts, rng)
    for _ in range(len(fractions)):
        lacking = np.flatnonzero((result == 0).any(axis=1))
        if not len(lacking):
            break
        result[lacking, result[lacking].argmax(axis=1)] -= 1
        result[lacking, result[lacking].argmin(axis=1)] += 1
    return result


def deal(
    units: np.ndarray,
    classes: np.ndarray,
    fractions: np.ndarray,
    rng: np.random.Generator,
    labels: sparse.csr_matrix | None = None,
) -> np.ndarray:
    """Deal rows into parts by class, units whole.

    Args:
        units: (N,) unit of each row, from 0 upwards without gaps.
        classes: (N,) class of each row, from 0 upwards without gaps; each occurs in at least P
            units.
        fractions: (P,) share of each part; they sum to 1.
        rng: The only source of chance.
        labels: (N, L) labels that rows have besides, which every part is to have where it can be.

    Returns:
        (N,) part of each row. A class may still lack a row in some part where units of mixed
        classes leave no way out.
    """
    shape = (int(units.max()) + 1, int(classes.max()) + 1)
    table = sparse.coo_matrix(
        (np.ones(len(units), dtype=np.int64), (units, classes)), shape=shape
    ).tocsr()
    table.sum_duplicates()
    wanted = quotas(np.bincount(classes), fractions, rng)
    part_of = np.full(shape[0], -1, dtype=np.int64)
    dealt = _deal_large(table, wanted, part_of, rng)
    _deal_single(table, wanted - dealt, part_of, rng)
    _cover(table, part_of, len(fractions))
    if labels is not None:
        rows = (np.ones(len(units), dtype=np.int64), (units, np.arange(len(units))))
        _cover((sparse.csr_matrix(rows) @ labels).tocsr(), part_of, len(fractions))
    return part_of[units]


def _round_rows(shares: np.ndarray, totals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Round shares (K, P) to whole numbers that sum to `totals` (K,), by largest remainders."""
    whole = np.floor(shares + 1e-9).astype(np.int64)
    remainder = shares - whole + 1e-6 * rng.random(shares.shape)
    rank = np.argsort(np.argsort(-remainder, axis=1), axis=1)
    return whole + (rank < (totals - whole.sum(axis=1))[:, None])


def _deal_large(
    table: sparse.csr_matrix, wanted: np.ndarray, part_of: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Place the units of several rows in `part_of`; return (K, P) the rows so placed.

    The cost of a part is the rise of sum((have - wanted)^2 / wanted): a chi-squared distance, in
    which rare classes and small parts weigh as much as they should.
    """
    sizes = np.asarray(table.sum(axis=1)).ravel()
    large = rng.permutation(np.flatnonzero(sizes > 1))
    large = large[np.argsort(-sizes[large], kind="stable")]
    # Plain lists: for a handful of numbers per step they are several times faster than arrays.
    starts, columns, values = table.indptr.tolist(), table.indices.tolist(), table.data.tolist()
    targets = wanted.tolist()
    have = [[0] * wanted.shape[1] for _ in targets]
    for unit in large.tolist():
        content = [(columns[i], values[i]) for i in range(starts[unit], starts[unit + 1])]
        costs = [
            sum(
                n * (n + 2 * (have[k][part] - targets[k][part])) / targets[k][part]
                for k, n in content
            )
            for part in range(wanted.shape[1])
        ]
        best = costs.index(min(costs))
        part_of[unit] = best
        for k, n in content:
            have[k][best] += n
    return np.array(have)


def _deal_single(
    table: sparse.csr_matrix, missing: np.ndarray, part_of: np.ndarray, rng: np.random.Generator
) -> None:
    """Place the units of one row to fill what is missing (K, P) of each class and part."""
    single = rng.permutation(np.flatnonzero(part_of < 0))
    if not len(single):
        return
    classes = table.indices[table.indptr[single]]
    order = np.argsort(classes, kind="stable")
    single, classes = single[order], classes[order]
    counts = np.bincount(classes, minlength=len(missing))
    # Room sums to more than `counts` where a large unit overshot its part.
    room = np.maximum(missing, 0).astype(np.float64)
    shares = room * (counts / np.maximum(room.sum(axis=1), 1))[:, None]
    ends = np.cumsum(_round_rows(shares, counts, rng), axis=1)
    rank = np.arange(len(single)) - (np.cumsum(counts) - counts)[classes]
    part_of[single] = (rank[:, None] >= ends[classes]).sum(axis=1)


def _cover(table: sparse.csr_matrix, part_of: np.ndarray, num_parts: int) -> None:
    """Move units, smallest first, to give every class a row in every part if that can be done."""
    presence = (table > 0).tocsc()
    by_part = sparse.coo_matrix(
        (np.ones(len(part_of), dtype=np.int64), (part_of, np.arange(len(part_of)))),
        shape=(num_parts, len(part_of)),
    )
    held = np.asarray((by_part.tocsr() @ presence.astype(np.int64)).todense()).T  # (K, P) units
    sizes = np.asarray(table.sum(axis=1)).ravel()
    for k, part in np.argwhere(held == 0).tolist():
        if held[k, part]:
            continue
        candidates = presence.indices[presence.indptr[k] : presence.indptr[k + 1]]
        for unit in candidates[np.argsort(sizes[candidates], kind="stable")].tolist():
            content = table.indices[table.indptr[unit] : table.indptr[unit + 1]]
            if (held[content, part_of[unit]] >= 2).all():
                held[content, part_of[unit]] -= 1
                held[content, part] += 1
                part_of[unit] = part
                break
