"""Columns whose roles are known, as examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mlexpert.data.columns import Columns, refuse_missing
from mlexpert.data.examples import Examples
from mlexpert.data.nearest import listing
from mlexpert.data.roles import Roles
from mlexpert.data.table import as_categories, as_numeric
from mlexpert.data.targets import names_of, read_labels
from mlexpert.errors import InputError


def examples_of(columns: Columns, roles: Roles, part: str) -> Examples:
    """Give the columns of one split their roles.

    Raises:
        InputError: The split lacks a column, or what stands there is not what its role needs.
    """
    for name in (*roles.inputs, roles.target, roles.group, roles.time, *roles.subgroups):
        if name is not None and name not in columns.order:
            raise InputError(
                f"the {part} split has no column {name!r}, which the train split has: add it, or "
                f"leave that split out; columns: {listing(columns.order)}"
            )
    frame = columns.frame
    where = "column {!r}" if part == "all" else f"column {{!r}} of the {part} split"
    targets = None
    class_names = None
    if roles.target is not None:
        targets = read_labels(frame[roles.target], where.format(roles.target))
        class_names = names_of(
            targets, columns.class_names.get(roles.target), where.format(roles.target)
        )
    subgroups = None
    if roles.subgroups:
        subgroups = pd.DataFrame({name: as_categories(frame[name]) for name in roles.subgroups})
    return Examples(
        kind=roles.kind,
        inputs=_inputs(columns, roles, where),
        targets=targets,
        class_names=class_names,
        groups=None
        if roles.group is None
        else _groups(frame[roles.group], where.format(roles.group)),
        times=None if roles.time is None else _times(frame[roles.time], where.format(roles.time)),
        subgroups=subgroups,
        target_name=roles.target,
        input_names=roles.inputs,
        notes=roles.notes,
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
