"""Columns whose roles are known, as examples."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from mlexpert.data.columns import Columns, is_instance, refuse_missing
from mlexpert.data.examples import Examples
from mlexpert.data.label_sets import (
    collected,
    label_names,
    labels_in,
    read_label_sets,
    refuse_one_hot,
)
from mlexpert.data.nearest import listing
from mlexpert.data.roles import Roles
from mlexpert.data.table import as_categories, as_numeric
from mlexpert.data.targets import names_of, read_labels
from mlexpert.data.values import read_values
from mlexpert.data.weights import read_weights
from mlexpert.errors import InputError

Aim = Literal["classes", "values"]
"""What a recipe predicts: classes or labels, or a number."""


def examples_of(columns: Columns, roles: Roles, part: str, aim: Aim = "classes") -> Examples:
    """Give the columns of one split their roles.

    Args:
        columns: The columns.
        roles: What each is.
        part: The split, as messages name it; "all" for rows that are not split.
        aim: Whether classes (or labels) are to be predicted, or numbers.

    Raises:
        InputError: The split lacks a column, or what stands there is not what its role needs.
    """
    named = (*roles.inputs, *roles.targets, roles.group, roles.time, roles.weight)
    for name in (*named, *roles.subgroups):
        if name is not None and name not in columns.order:
            raise InputError(
                f"the {part} split has no column {name!r}, which the train split has: add it, or "
                f"leave that split out; columns: {listing(columns.order)}"
            )
    frame = columns.frame
    where = "column {!r}" if part == "all" else f"column {{!r}} of the {part} split"
    subgroups = None
    if roles.subgroups:
        subgroups = pd.DataFrame({name: as_categories(frame[name]) for name in roles.subgroups})
    rows = Examples(
        kind=roles.kind,
        inputs=_inputs(columns, roles, where),
        groups=None
        if roles.group is None
        else _groups(frame[roles.group], where.format(roles.group)),
        times=None if roles.time is None else _times(frame[roles.time], where.format(roles.time)),
        weights=None
        if roles.weight is None
        else read_weights(frame[roles.weight], where.format(roles.weight), len(frame)),
        subgroups=subgroups,
        target_name=roles.target,
        input_names=roles.inputs,
        notes=roles.notes,
    )
    if roles.target is None:
        return rows
    to_train = part in ("all", "train")
    return with_targets(rows, columns, roles.target, where, aim, to_train=to_train)


def with_targets(
    rows: Examples,
    columns: Columns,
    target: str | tuple[str, ...],
    where: str,
    aim: Aim,
    *,
    to_train: bool,
    num_labels: int = 2,
) -> Examples:
    """Return rows with their targets.

    Args:
        rows: The rows, of these columns.
        columns: The columns.
        target: The column of the targets, or several of 0 and 1.
        where: How a message speaks of a column, to be formatted with its name.
        aim: Whether classes (or labels) are to be predicted, or numbers.
        to_train: Whether these are rows to train on, of which more is asked.
        num_labels: As for `collected`.

    Raises:
        InputError: What stands there is not what is to be predicted.
    """
    where = where.format(target)
    if isinstance(target, tuple) or target not in columns.frame:
        if aim == "values":
            raise InputError(
                f"{where} holds several values in a row, and one number is to be predicted: name "
                "one column with target="
            )
        return _with_sets(replace(rows, target_name=target), columns, where, to_train, num_labels)
    rows = replace(rows, target_name=target)
    if aim == "values":
        values = read_values(columns.frame[target], where, rows.kind)
        return replace(rows, targets=values, objective="regression")
    labels = read_labels(columns.frame[target], where)
    names = names_of(labels, columns.class_names.get(target), where)
    return replace(rows, targets=labels, class_names=names)


def _with_sets(
    rows: Examples, columns: Columns, where: str, to_train: bool, num_labels: int
) -> Examples:
    target, notes = rows.target_name, list(rows.notes)
    names: dict[int, str] | None = None
    values: Any
    if isinstance(target, str):
        names, values = columns.class_names.get(target), columns.label_sets[target]
        values = values.to_pylist() if is_instance(values, "pyarrow", "ChunkedArray") else values
    else:
        values = columns.frame[list(target or ())]
    values = collected(values, where, declared=names is not None, num_labels=num_labels)
    sets = read_label_sets(values, where)
    labels = labels_in(sets)
    if to_train and isinstance(values, pd.DataFrame):
        refuse_one_hot(values, where)
        never = sorted(set(label_names(values)) - set(labels.tolist()))
        notes += [f"label(s) {listing(never)} left out: no row has them"] if never else []
    return replace(
        rows,
        targets=sets,
        objective="multilabel",
        class_names=names_of(labels, names, where),
        notes=tuple(notes),
    )


def _inputs(columns: Columns, roles: Roles, where: str) -> Any:
    name = roles.inputs[0]
    if roles.kind == "image":
        if name not in columns.images:
            raise InputError(f"{where.format(name)} holds no images")
        return columns.images[name]
    unreadable = [name for name in roles.inputs if name not in columns.frame.columns]
    if unreadable:
        raise InputError(f"{where.format(unreadable[0])} holds neither numbers nor strings")
    if roles.kind == "text":
        return _texts(columns.frame[name], where.format(name))
    table = {}
    for name, kind in roles.column_kinds.items():
        series = columns.frame[name]
        if kind == "categorical" and name in columns.class_names:
            series = series.map(columns.class_names[name])
        table[name] = as_numeric(series) if kind == "numeric" else as_categories(series)
    return pd.DataFrame(table, columns=list(roles.inputs))


def _texts(series: pd.Series, where: str) -> np.ndarray:
    refuse_missing(series.isna(), where, "a text")
    texts = series.to_numpy(dtype=object)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"{where} holds, in row {row}, a {type(text).__name__} and not a text")
        if not text.isascii():  # of ASCII strings, known without a look at them
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise InputError(
                    f"{where} holds, in row {row}, half of a character (a lone surrogate): "
                    f"text.encode('utf-8', 'replace').decode() mends it ({error.reason})"
                ) from error
    return texts


def _groups(series: pd.Series, where: str) -> np.ndarray:
    refuse_missing(series.isna(), where, "a group")
    return as_categories(series).to_numpy(dtype=object)


def _times(series: pd.Series, where: str) -> np.ndarray:
    refuse_missing(series.isna(), where, "a time")
    try:
        if isinstance(series.iloc[0], str):
            series = pd.to_datetime(series, format="ISO8601", utc=True)
        return as_numeric(series).to_numpy(np.float64)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{where} cannot be put in order: give numbers, dates or ISO 8601 strings "
            f"({str(error).splitlines()[0]})"
        ) from error
