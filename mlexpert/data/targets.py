"""Labels: whether they can be classes, and in what form they are kept."""

from __future__ import annotations

import decimal
from collections.abc import Mapping

import numpy as np
import pandas as pd

from mlexpert.data.columns import refuse_missing
from mlexpert.data.nearest import listing
from mlexpert.errors import InputError

FEW = 20  # no more distinct whole numbers than this are never taken for a regression target


def read_labels(series: pd.Series, where: str) -> np.ndarray:
    """Return labels (N,) as the user wrote them: int64, bool, float64, or an object array of `str`.

    Args:
        series: The labels.
        where: How a message speaks of them.

    Raises:
        InputError: Labels are missing, infinite, of mixed type, or of a type that cannot be a
            class.
    """
    refuse_missing(series.isna(), where, "a label")
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(series.dtype.categories.dtype)
    if isinstance(series.dtype, pd.StringDtype):
        return series.to_numpy(dtype=object)
    if pd.api.types.is_bool_dtype(series.dtype) and series.dtype != object:
        return series.to_numpy(dtype=bool)
    if pd.api.types.is_integer_dtype(series.dtype):
        return series.to_numpy(dtype=np.int64)
    if pd.api.types.is_float_dtype(series.dtype):
        return _finite(series.to_numpy(dtype=np.float64), where)
    if series.dtype == object:
        return _from_objects(series.tolist(), where)
    raise InputError(
        f"{where} holds values of type {series.dtype}: labels are str, int, bool or float"
    )


def _from_objects(values: list, where: str) -> np.ndarray:
    values = [value.item() if isinstance(value, np.generic) else value for value in values]
    values = [float(value) if isinstance(value, decimal.Decimal) else value for value in values]
    first: dict[type, object] = {}
    for value in values:
        first.setdefault(type(value), value)
    kinds = set(first)
    if kinds == {str}:
        out = np.empty(len(values), dtype=object)
        out[:] = values
        return out
    if kinds == {bool} or kinds == {int}:
        return np.asarray(values)
    if kinds and kinds <= {int, float}:
        return _finite(np.asarray(values, dtype=np.float64), where)
    if len(kinds) > 1 and kinds <= {str, int, float, bool}:
        seen = ", ".join(f"{kind.__name__} (such as {value!r})" for kind, value in first.items())
        raise InputError(
            f"{where} mixes labels of types {seen}: write all labels in one type, e.g. astype(str)"
        )
    names = listing(sorted(kind.__name__ for kind in kinds))
    raise InputError(f"{where} holds values of types {names}: labels are str, int, bool or float")


def _finite(labels: np.ndarray, where: str) -> np.ndarray:
    bad = np.flatnonzero(~np.isfinite(labels))
    if len(bad):
        raise InputError(
            f"{where} holds {len(bad)} infinite label(s), first in row {bad[0]}: remove those rows"
        )
    return labels


def refuse_non_classes(labels: np.ndarray, where: str, declared: bool, *, fewest: int = 2) -> None:
    """Raise an error where labels to train on cannot be classes.

    Args:
        labels: (N,) labels.
        where: How a message speaks of them.
        declared: Whether the source declares them to be classes, by a `ClassLabel` feature.
        fewest: Classes that there have to be; one more will do for a model that has others.

    Raises:
        InputError: There are too few classes, every row has a label of its own, or they look like a
            regression target.
    """
    distinct = len(np.unique(labels))
    if labels.dtype.kind == "f" and not all(
        float(value).is_integer() for value in np.unique(labels)
    ):
        example = next(value for value in labels if not float(value).is_integer())
        raise InputError(
            f"{where} holds numbers that are not whole (such as {float(example)!r}): this looks "
            "like a regression target, and classes are needed. Numbers are predicted by the recipe "
            "'tabular-reg'; for classes, cut it into some, or write the labels as strings"
        )
    if distinct < fewest:
        raise InputError(
            f"{where} holds one class only ({labels[:1].tolist()[0]!r} in all {len(labels)} "
            "rows): at least two are needed"
        )
    if distinct == len(labels):
        raise InputError(
            f"{where} has a different label in each of its {distinct} rows, as an id has: name "
            "the column of the classes with target="
        )
    crowded = distinct > FEW and (labels.dtype.kind == "f" or distinct > len(labels) / 10)
    if labels.dtype.kind in "iuf" and crowded and not declared:
        raise InputError(
            f"{where} has {distinct} different numbers in {len(labels)} rows: this looks like an "
            "id or a regression target. Name the column of the classes with target=; if these "
            "are classes, write them as strings; numbers are predicted by the recipe 'tabular-reg'"
        )


def refuse_unknown(labels: np.ndarray, known: np.ndarray, part: str) -> None:
    """Raise an error where a split holds labels that training lacks.

    Raises:
        InputError: It does; the message names them.
    """
    if labels.dtype.kind != known.dtype.kind and not {labels.dtype.kind, known.dtype.kind} <= set(
        "iuf"
    ):
        raise InputError(
            f"labels of the {part} split are of another type "
            f"({type(labels[:1].tolist()[0]).__name__}) than those of the train split "
            f"({type(known[:1].tolist()[0]).__name__})"
        )
    new = sorted(set(labels.tolist()) - set(known.tolist()))
    if new:
        raise InputError(
            f"the {part} split holds {len(new)} label(s) that the train split lacks: "
            f"{listing(new)}, in {int(np.isin(labels, new).sum())} row(s). Add training rows of "
            "them, or remove those rows"
        )


def names_of(
    labels: np.ndarray, declared: Mapping[int, str] | None, where: str
) -> dict[int, str] | None:
    """Return the declared names, once every label has one.

    Raises:
        InputError: A label has no name.
    """
    if declared is None:
        return None
    new = sorted(set(labels.tolist()) - set(declared))
    if new:
        raise InputError(f"{where} holds {listing(new)}, for which its ClassLabel has no name")
    return dict(declared)
