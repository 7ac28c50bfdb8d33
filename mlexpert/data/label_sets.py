"""Targets that are sets of labels: lists in a column, or a matrix of 0 and 1, as sorted tuples."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from mlexpert.data.columns import refuse_missing, unwrap
from mlexpert.data.examples import Examples
from mlexpert.data.targets import read_labels
from mlexpert.errors import InputError

COLLECTIONS = (list, tuple, set, frozenset, np.ndarray)


def are_sets(values: Any) -> bool:
    """Return whether the first value that is not missing is a collection of labels."""
    first = next((value for value in values if value is not None), None)
    return isinstance(first, COLLECTIONS)


def collected(
    values: Any, where: str, *, declared: bool, num_labels: int = 2
) -> pd.DataFrame | list[list]:
    """Return what holds sets of labels as a matrix (N, K), or as N lists of labels.

    Lists of 0 and 1 that are all of one length of two and more are rows of a matrix: as sets, their
    repeated labels would have no sense.

    Args:
        values: A frame (N, K) whose columns are the labels, or N collections of labels.
        where: How a message speaks of them.
        declared: Whether the source declares the labels to be classes, by a `ClassLabel` feature;
            these are in no matrix.
        num_labels: Labels of training, where they are known: of more than two, rows that all hold
            the labels 0 and 1 are no matrix.

    Raises:
        InputError: A set is missing, or no collection.
    """
    if isinstance(values, pd.DataFrame):
        return values
    rows = [_as_list(value, row, where) for row, value in enumerate(values)]
    refuse_missing([row is None for row in rows], where, "labels (an empty list has none)")
    lists = [row for row in rows if row is not None]
    widths = {len(row) for row in lists}
    if declared or len(widths) > 1 or min(widths) < 2:
        return lists
    flat = chain.from_iterable(lists)
    hot = all(isinstance(value, int | float) and value in (0, 1) for value in flat)
    if num_labels > 2 and all(len(row) == 2 == len(set(row)) for row in lists):
        return lists
    return pd.DataFrame(lists) if hot else lists


def read_label_sets(values: pd.DataFrame | list[list], where: str) -> np.ndarray:
    """Return sets of labels as an object array (N,) of sorted tuples.

    Args:
        values: A matrix (N, K) of 0 and 1, or N lists of labels.
        where: How a message speaks of them.

    Raises:
        InputError: Labels are missing, of mixed types, or neither whole numbers nor strings; a
            matrix holds something else than 0 and 1.
    """
    if isinstance(values, pd.DataFrame):
        return _from_matrix(values, where)
    flat = list(chain.from_iterable(values))
    if not flat:
        raise InputError(f"{where} holds empty sets of labels only")
    labels = read_labels(pd.Series(flat, dtype=object), f"{where}, its lists taken together,")
    if labels.dtype.kind == "f" and (labels == np.floor(labels)).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iO":
        raise InputError(
            f"{where} holds sets of {type(flat[0]).__name__}, such as {values[0]!r}: labels are "
            "whole numbers or strings, and a matrix has 0 and 1 for each of the same K labels"
        )
    ends = np.cumsum([len(row) for row in values]).tolist()
    return _cut(labels.tolist(), ends, lambda part: tuple(sorted(set(part))))


def _as_list(value: Any, row: int, where: str) -> list | None:
    """Return one collection as a list, None where it is missing."""
    value = unwrap(value)
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return value.tolist()
    if isinstance(value, list | tuple | set | frozenset):
        return [unwrap(one) for one in value]
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    raise InputError(
        f"{where} holds, in row {row}, a {type(value).__name__} and not a list of labels"
    )


def _from_matrix(frame: pd.DataFrame, where: str) -> np.ndarray:
    refuse_missing(frame.isna().any(axis=1), where, "a label")
    columns = []
    for name, column in frame.items():
        values = column.tolist()
        wrong = set(values) - {0, 1}
        if wrong:
            raise InputError(
                f"{where} holds {next(iter(wrong))!r} for label {name!r}: several targets are "
                "labels that a row has or has not, written as 0 and 1 or as booleans"
            )
        columns.append(np.asarray(values, dtype=bool))
    labels = label_names(frame)
    order = sorted(range(len(labels)), key=labels.__getitem__)
    rows, numbers = np.nonzero(np.stack(columns, axis=1)[:, order])
    flat = [labels[order[number]] for number in numbers.tolist()]
    ends = np.cumsum(np.bincount(rows, minlength=len(frame))).tolist()
    return _cut(flat, ends, tuple)


def label_names(frame: pd.DataFrame) -> list:
    """Return the labels that the columns of a matrix stand for: 0..K-1, or their names."""
    names = frame.columns.tolist()
    return names if all(isinstance(name, int) for name in names) else [str(name) for name in names]


def labels_in(sets: np.ndarray) -> np.ndarray:
    """Return the labels of all sets (N,), one after another: int64, or an object array of `str`."""
    flat = list(chain.from_iterable(sets))
    return np.asarray(flat, dtype=object if flat and isinstance(flat[0], str) else np.int64)


def labels_of_rows(rows: Examples) -> np.ndarray:
    """Return the labels of rows that have targets, whether one each or sets, one after another."""
    assert rows.targets is not None, "rows that were read with a target have targets"
    return labels_in(rows.targets) if rows.objective == "multilabel" else rows.targets


def _cut(flat: list, ends: list[int], make: Callable[[list], tuple]) -> np.ndarray:
    """Return the stretches of a list that end at `ends` (N,), each made into a tuple."""
    out = np.empty(len(ends), dtype=object)
    out[:] = [make(flat[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    return out


def refuse_one_hot(frame: pd.DataFrame, where: str) -> None:
    """Raise an error where every row of a matrix (N, K) to train on has exactly one 1.

    That is how classes that exclude one another are written; read as labels, each of them would get
    a probability of its own.

    Raises:
        InputError: It is so.
    """
    if (frame.to_numpy(dtype=np.float64).sum(axis=1) == 1).all():
        raise InputError(
            f"{where} has shape {frame.shape} and exactly one 1 in each row, as one-hot classes "
            "have: give one class a row, y.argmax(axis=1) (frame[columns].idxmax(axis=1) of a "
            "frame)"
        )


def refuse_useless_sets(sets: np.ndarray, where: str) -> None:
    """Raise an error where there is nothing to tell apart in sets (N,) to train on.

    Raises:
        InputError: All rows have the same labels.
    """
    if all(one == sets[0] for one in sets):
        raise InputError(
            f"{where} holds the same labels, {sets[0]!r}, in all {len(sets)} rows: there is "
            "nothing to tell apart"
        )
