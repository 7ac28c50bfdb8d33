"""Classes across parts: number them, and refuse a division in which one is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
from scipy import sparse

from mlexpert.data.examples import SEQUENCES, Examples, Objective
from mlexpert.data.stratify import count_units
from mlexpert.errors import InputError

_WAYS_OUT = (
    "add rows, merge or drop the class, or bring your own split (a dict or DatasetDict with "
    "train, validation and test)"
)


def number_labels(
    parts: Mapping[str, Examples],
) -> tuple[dict[str, sparse.csr_matrix], list[str]]:
    """Number the labels of all parts together.

    Args:
        parts: The rows of each part.

    Returns:
        For each part which classes or labels its rows have, (N, K) of ones, K = 0 where numbers are
        predicted; and the K labels in that numbering, as messages show them.

    Raises:
        InputError: If there are no targets, a label is missing, or there is one class only.
    """
    import pandas as pd

    objective = next(iter(parts.values())).objective
    for name, part in parts.items():
        if part.targets is None and objective not in ("tokens", "forecast"):
            raise InputError(f"{name!r} has no targets to learn from: name the column with target=")
    if objective == "regression" or objective in SEQUENCES:
        return {name: sparse.csr_matrix((len(part), 0)) for name, part in parts.items()}, []
    # As objects, so that joining parts of different types changes no label.
    joined = np.concatenate([np.asarray(part.targets).astype(object) for part in parts.values()])
    lengths = np.ones(len(joined), dtype=np.int64)
    if objective == "multilabel":
        lengths = np.fromiter(map(len, joined), np.int64, len(joined))
        joined = np.fromiter(chain.from_iterable(joined), dtype=object)
    codes, uniques = pd.factorize(joined)
    if (codes < 0).any():
        rows = np.flatnonzero(codes < 0)
        raise InputError(
            f"{len(rows)} rows have no label (first at row {rows[0]}): fill them in or drop these "
            "rows"
        )
    names: dict = {}
    for part in parts.values():
        names |= part.class_names or {}
    labels = [_show(label, names) for label in uniques]
    of_stream = all(part.tasks is not None for part in parts.values())
    if len(labels) < 2 and objective == "classification" and not of_stream:
        raise InputError(
            f"there is one class only, {labels[0]}: a classifier needs rows of at least two"
        )
    starts = np.concatenate([[0], np.cumsum(lengths)])
    shape = (len(lengths), len(labels))
    present = sparse.csr_matrix((np.ones(len(codes), dtype=np.int64), codes, starts), shape=shape)
    ends = np.cumsum([0, *(len(part) for part in parts.values())])
    return {
        name: present[first:last]
        for name, first, last in zip(parts, ends[:-1], ends[1:], strict=True)
    }, labels


def check_units(
    units: np.ndarray,
    rows: Examples,
    present: sparse.csr_matrix,
    labels: Sequence[str],
    names: Sequence[str],
) -> None:
    """Refuse to divide rows of which a class has fewer units than there are parts.

    Labels and numbers may be missing from a part; of them only all rows together are counted.

    Args:
        units: (N,) unit of each row; the rows of a unit cannot be parted.
        rows: The rows (N,) to divide.
        present: (N, K) which classes or labels each row has.
        labels: (K,) the classes as messages show them.
        names: The parts to make.

    Raises:
        InputError: If so; the message names the classes with their rows and units.
    """
    classes, shown = np.zeros_like(units), ["the data"]
    if rows.objective == "classification":
        held, classes = np.unique(present.indices, return_inverse=True)
        shown = [f"class {labels[k]}" for k in held]
    num_units, num_rows = count_units(units, classes), np.bincount(classes)
    short = np.flatnonzero(num_units < len(names))
    if not len(short):
        return
    grouped = rows.groups is not None
    what = "groups (groups that share a row count as one)" if grouped else "distinct rows"
    lines = [f"{shown[k]} has {num_rows[k]} rows in {num_units[k]} {what}" for k in short[:10]]
    more = f"; and {len(short) - 10} more classes" if len(short) > 10 else ""
    raise InputError(
        f"{'; '.join(lines)}{more}: too few for {listed(names)}, which need one each: {_WAYS_OUT}"
    )


def check_parts(
    dealt: np.ndarray,
    rows: Examples,
    present: sparse.csr_matrix,
    labels: Sequence[str],
    names: Sequence[str],
) -> None:
    """Refuse a division in which a part has no rows, or lacks a class.

    By time, which leaves no choice of rows, only train has to have all classes.

    Args:
        dealt: (N,) part of each row, -1 for none.
        rows: The rows (N,) that were divided.
        present: (N, K) which classes or labels each row has.
        labels: (K,) the classes as messages show them.
        names: The parts, train first.

    Raises:
        InputError: If so; the message names the class and the part.
    """
    by_time = rows.times is not None
    held = np.bincount(dealt[dealt >= 0], minlength=len(names))
    if (held == 0).any():
        reason = (
            "all rows of its time share their content or group with an earlier part; give time= or "
            "group=, not both"
            if by_time
            else "labels of few distinct rows are kept in train; add rows"
        )
        raise InputError(
            f"no rows are left for {names[int(np.argmin(held))]}: {reason}, or bring your own split"
        )
    if rows.objective != "classification":
        return
    total = np.bincount(present.indices, minlength=len(labels))
    for number, name in enumerate(names[:1] if by_time else names):
        here = np.bincount(present.indices[dealt == number], minlength=len(labels))
        lacking = np.flatnonzero((here == 0) & (total > 0))
        if len(lacking):
            k = int(lacking[0])
            how = "cut by time" if by_time else "dealt with groups and duplicates whole"
            raise InputError(
                f"class {labels[k]} ({total[k]} rows) has none in {name} when rows are {how}: "
                f"{_WAYS_OUT}"
            )


def absent_labels(
    present: Mapping[str, sparse.csr_matrix], labels: Sequence[str], objective: Objective
) -> dict[str, tuple[str, ...]]:
    """Compare the labels of validation and test with those of train.

    Args:
        present: Which labels each row has, (N, K), of each part.
        labels: (K,) the labels as messages show them.
        objective: What the labels are; numbers have none to compare.

    Returns:
        For each part but train, the training labels of which it has no row.

    Raises:
        InputError: If train has one class only, or lacks a label that another part has.
    """
    if objective == "regression" or objective in SEQUENCES:
        return {}
    counts = {
        name: np.bincount(held.indices, minlength=len(labels)) for name, held in present.items()
    }
    known = counts["train"] > 0
    if objective == "classification" and known.sum() < 2 <= len(labels):
        raise InputError(
            f"train has one class only, {labels[int(np.argmax(known))]}: a classifier needs rows "
            "of at least two"
        )
    absent = {}
    for name, held in counts.items():
        unknown = np.flatnonzero((held > 0) & ~known)
        if len(unknown):
            shown = ", ".join(f"{labels[k]} ({held[k]} rows)" for k in unknown[:10])
            what = "classes" if objective == "classification" else "labels"
            raise InputError(
                f"{name} has {what} that train lacks: {shown}; add rows of them to train, or drop "
                f"them from {name}"
            )
        if name != "train":
            absent[name] = tuple(labels[k] for k in np.flatnonzero(known & (held == 0)).tolist())
    return absent


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them: "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _show(label: object, names: Mapping) -> str:
    shown = repr(label.item() if isinstance(label, np.generic) else label)
    name = names.get(label)
    return shown if name is None or str(name) == str(label) else f"{shown} ({name})"
