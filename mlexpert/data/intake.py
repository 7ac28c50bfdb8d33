"""Reading whatever the user has into examples with roles: the door through which data comes in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from mlexpert.data import sources
from mlexpert.data.columns import Columns, is_instance, refuse_missing
from mlexpert.data.examples import Examples, Kind
from mlexpert.data.nearest import did_you_mean, listing
from mlexpert.data.roles import Roles, find_roles
from mlexpert.data.schema import Numeric, Schema
from mlexpert.data.table import as_categories, as_numeric, looks_like_text
from mlexpert.data.targets import names_of, read_labels, refuse_non_classes, refuse_unknown
from mlexpert.errors import InputError


def read(
    ds: Any,
    *,
    target: str | None = None,
    inputs: str | Sequence[str] | None = None,
    group: str | None = None,
    time: str | None = None,
    subgroups: str | Sequence[str] | None = None,
    for_prediction: bool = False,
) -> dict[str, Examples]:
    """Read data into examples by split.

    Args:
        ds: A Hugging Face `Dataset`, `DatasetDict` or `IterableDataset`, a `DataFrame`, a pair (X,
            y) of arrays, tensors or lists, a torch map-style `Dataset`, a dict of such by split, a
            path (parquet, csv, a folder of class folders), the name of a dataset on the hub, or
            "demo".
        target: The column of the labels; else the one `ClassLabel` feature, or the one column
            called label, labels, target, class or y.
        inputs: The input columns; else every column without another role.
        group: A column whose equal values must stay in one split.
        time: A column by which rows are split into past and future: numbers, dates, or ISO 8601
            strings.
        subgroups: Columns by which results are also reported; they stay inputs of a table.
        for_prediction: Rows to predict: X alone is enough, labels may be absent, and any number of
            classes will do.

    Returns:
        {"all": examples}, or the user's own split: "train" and any of "validation" and "test".

    Raises:
        InputError: The data cannot be used as it is; the message says what was seen and what to do.
    """
    parts = sources.load(ds, target=target, for_prediction=for_prediction)
    first = "all" if "all" in parts else "train"
    for part, columns in parts.items():
        if not len(columns):
            raise InputError(
                "the data has no rows" if part == "all" else f"the {part} split has no rows"
            )
    roles = find_roles(
        parts[first],
        target=target,
        inputs=inputs,
        group=group,
        time=time,
        subgroups=subgroups,
        target_needed=not for_prediction,
    )
    examples = {part: _examples(columns, roles, part) for part, columns in parts.items()}
    if not for_prediction:
        _check_labels(examples, first, roles)
    return examples


def read_inputs(
    x: Any, *, kind: Kind, schema: Schema, inputs: str | Sequence[str] | None = None
) -> Examples:
    """Read rows to predict in the form that a trained model needs.

    Args:
        x: Whatever `fit` accepts, or its inputs alone. Columns that the model does not use are
            ignored.
        kind: What one input is.
        schema: What is known of the training data.
        inputs: For images and text, the column to read; else the one that is of this kind.

    Raises:
        InputError: A column is missing, or what stands there is of another kind.
    """
    if kind == "text" and isinstance(x, str) and not os.path.exists(x):
        raise InputError(f"there is no file {x[:80]!r}. (Texts to predict are given in a list.)")
    if schema.image is not None:
        _refuse_one_image(x, schema.image.channels)
    parts = sources.load(x, target=None, for_prediction=True)
    if list(parts) != ["all"]:
        raise InputError(f"one set of rows is needed here, not the splits {listing(parts)}")
    columns = parts["all"]
    if not len(columns):
        raise InputError("there are no rows to predict")
    if columns.target is not None:  # the y of a pair, which is not asked for here
        columns = replace(columns, frame=columns.frame.drop(columns=columns.target))
    if kind == "tabular":
        columns, roles = _table_roles(columns, schema)
    else:
        name = _input_column(columns, kind, inputs)
        roles = Roles(kind, (name,), {}, None, None, None, (), columns.notes)
    return _examples(columns, roles, "all")


def _refuse_one_image(x: Any, channels: int) -> None:
    """Raise an error where one image stands for a stack: it would be read as several grey ones."""
    if not (isinstance(x, np.ndarray) or is_instance(x, "torch", "Tensor")):
        return
    shape = tuple(x.shape)
    if len(shape) == 2 or (len(shape) == 3 and channels == 3 and shape[0] in (3, 4)):
        grey = f", and {shape[0]} grey images X[:, None]" if len(shape) == 3 else ""
        raise InputError(
            f"X of shape {shape} looks like one image: a stack of one is X[None]{grey}"
        )


def _table_roles(columns: Columns, schema: Schema) -> tuple[Columns, Roles]:
    names = [column.name for column in schema.columns]
    frame = columns.frame
    if frame.columns.empty:
        raise InputError(
            f"the model predicts from a table with columns {listing(names)}, not images"
        )
    positional = [f"x{j}" for j in range(len(frame.columns))]
    if list(frame.columns) == positional and not set(names) <= set(positional):
        if len(names) != len(positional):
            raise InputError(
                f"X has {len(positional)} columns; the model was trained on {len(names)}: "
                f"{listing(names)}"
            )
        columns = replace(columns, frame=frame.set_axis(names, axis=1), order=tuple(names))
    elif list(frame.columns) == positional and len(names) != len(positional):
        raise InputError(f"X has {len(positional)} columns; the model was trained on {len(names)}")
    missing = [name for name in names if name not in columns.frame.columns]
    if missing:
        raise InputError(
            f"column(s) {listing(missing)} that the model was trained on are missing; columns: "
            f"{listing(columns.order)}." + did_you_mean(missing[0], columns.order)
        )
    kinds: dict = {
        column.name: "numeric" if isinstance(column, Numeric) else "categorical"
        for column in schema.columns
    }
    return columns, Roles("tabular", tuple(names), kinds, None, None, None, (), columns.notes)


def _input_column(columns: Columns, kind: Kind, inputs: str | Sequence[str] | None) -> str:
    """Return the column of images or texts to predict."""
    if inputs is not None and columns.kind is None:
        wanted = [inputs] if isinstance(inputs, str) else list(inputs)
        if len(wanted) == 1 and wanted[0] in columns.order:
            return wanted[0]
    frame = columns.frame
    if kind == "image":
        found = list(columns.images)
    elif columns.kind == "text":
        found = ["x"]
    else:
        plain = frame.columns.difference(list(columns.class_names), sort=False)
        strings = [name for name in plain if isinstance(next(iter(frame[name].dropna()), 0), str)]
        found = (
            strings
            if len(strings) < 2
            else [n for n in strings if looks_like_text(frame[n], alone=True)]
        )
    if len(found) != 1:
        raise InputError(
            f"the model predicts from one column of {kind}s, and {len(found)} are found; columns: "
            f"{listing(columns.order)}. Give that column alone"
        )
    return found[0]


def _examples(columns: Columns, roles: Roles, part: str) -> Examples:
    """Give the columns of one split their roles."""
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


def _check_labels(examples: dict[str, Examples], first: str, roles: Roles) -> None:
    known = examples[first].targets
    if known is None:
        raise InputError("there are no labels: name their column with target=")
    where = f"target column {roles.target!r}"
    refuse_non_classes(known, where, declared=examples[first].class_names is not None)
    for part, rows in examples.items():
        if part != first and rows.targets is not None:
            refuse_unknown(rows.targets, known, part)
            declared = (rows.class_names, examples[first].class_names)
            if None not in declared and declared[0] != declared[1]:
                raise InputError(
                    f"the {part} split names its classes otherwise than the train split"
                )
