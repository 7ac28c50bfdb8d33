"""Strata: what a division of rows keeps in proportion, for each kind of target."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mlexpert.data.examples import SEQUENCES, Examples
from mlexpert.data.stratify import count_units

NUM_BINS = 10
STRATIFIED = {
    "classification": "stratified by class",
    "multilabel": "stratified by the rarest label of a row",
    "regression": "stratified by quantiles of the target",
    **dict.fromkeys(SEQUENCES, "at random"),
}
"""How a division speaks of its strata."""


def strata(
    rows: Examples, present: sparse.csr_matrix, units: np.ndarray, num_parts: int
) -> np.ndarray:
    """Number the strata of rows: classes, rarest labels, or quantile bins.

    A class is a stratum of its own however rare it is. In a stream, its rows of each task are one;
    those of fewer units than there are parts join the largest of their class. Rarest labels and
    bins with fewer units than parts join the largest of them, as they cannot be in every part.

    Args:
        rows: The rows (N,) with their targets.
        present: (N, K) which classes or labels each row has.
        units: (N,) unit of each row; the rows of a unit stay together.
        num_parts: Parts to be made, P.

    Returns:
        (N,) int64 from 0 upwards without gaps.
    """
    if rows.objective == "classification":
        codes = np.unique(present.indices, return_inverse=True)[1]
        return codes if rows.tasks is None else _by_task(codes, rows.tasks, units, num_parts)
    if rows.objective in SEQUENCES:
        return np.zeros(len(rows), dtype=np.int64)
    if rows.objective == "multilabel":
        codes = rarest_labels(present)
    else:
        num_bins = min(NUM_BINS, (int(units.max()) + 1) // num_parts)
        codes = quantile_bins(np.asarray(rows.targets), max(num_bins, 1))
    held = count_units(units, codes)
    codes[(held < num_parts)[codes]] = held.argmax()
    return np.unique(codes, return_inverse=True)[1]


def _by_task(
    classes: np.ndarray, tasks: np.ndarray, units: np.ndarray, num_parts: int
) -> np.ndarray:
    """Number the pairs of class and task (N,), those of fewer units than parts joined by class."""
    num_tasks = int(tasks.max()) + 1
    codes = classes * num_tasks + tasks
    shape = (int(classes.max()) + 1, num_tasks)
    held = np.zeros(shape, dtype=np.int64).ravel()
    counted = count_units(units, codes)
    held[: len(counted)] = counted
    largest = held.reshape(shape).argmax(axis=1)
    few = (held < num_parts)[codes]
    codes[few] = classes[few] * num_tasks + largest[classes[few]]
    return np.unique(codes, return_inverse=True)[1]


def quantile_bins(values: np.ndarray, num_bins: int) -> np.ndarray:
    """Number bins (N,), from 0 without gaps, of about as many of the values (N,) each.

    Equal values are in one bin, so there may be fewer bins.
    """
    edges = np.quantile(values, np.linspace(0, 1, num_bins + 1)[1:-1])
    return np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)[1]


def rarest_labels(present: sparse.csr_matrix) -> np.ndarray:
    """Number, for each row of (N, K), its rarest label; rows without labels share a number."""
    counts = np.bincount(present.indices, minlength=present.shape[1])
    rank = np.argsort(np.argsort(counts, kind="stable"))
    rarest = np.full(present.shape[0], present.shape[1], dtype=np.int64)
    rows = np.repeat(np.arange(present.shape[0]), np.diff(present.indptr))
    np.minimum.at(rarest, rows, rank[present.indices])
    return np.unique(rarest, return_inverse=True)[1]


def keep_in_first(dealt: np.ndarray, units: np.ndarray, present: sparse.csr_matrix) -> None:
    """Move units into part 0, the smallest first, until it has a row of every label.

    Args:
        dealt: (N,) part of each row; changed in place.
        units: (N,) unit of each row.
        present: (N, K) which labels each row has.
    """
    sizes = np.bincount(units)
    columns = present.tocsc()
    held = np.bincount(present[dealt == 0].indices, minlength=present.shape[1])
    for label in np.flatnonzero(held == 0).tolist():
        rows = columns.indices[columns.indptr[label] : columns.indptr[label + 1]]
        if len(rows) and not (dealt[rows] == 0).any():
            smallest = units[rows[np.argmin(sizes[units[rows]])]]
            dealt[units == smallest] = 0
