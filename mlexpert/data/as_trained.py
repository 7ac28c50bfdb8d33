"""Reading rows for a trained model: in the form, and with the columns, that it was trained on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from mlexpert.data import sources
from mlexpert.data.assemble import Aim, examples_of, with_targets
from mlexpert.data.columns import Columns, is_instance
from mlexpert.data.examples import MEANS, Examples, Kind
from mlexpert.data.label_sets import labels_of_rows
from mlexpert.data.nearest import did_you_mean, listing
from mlexpert.data.roles import Roles, find_target
from mlexpert.data.schema import Categorical, Numeric, Schema
from mlexpert.data.table import looks_like_text
from mlexpert.errors import InputError


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
    if kind == "series":
        return _as_series(x, schema, inputs, for_prediction=True)
    if kind == "text" and isinstance(x, str) and not os.path.exists(x):
        raise InputError(f"there is no file {x[:80]!r}. (Texts to predict are given in a list.)")
    if schema.image is not None:
        _refuse_one_image(x, schema.image.channels)
    columns = _load(x, "predict", schema)
    if columns.target is not None:  # the y of a pair, which is not asked for here
        frame = columns.frame.drop(columns=columns.target, errors="ignore")
        columns = replace(columns, frame=frame)
    return _as_trained(columns, kind, schema, inputs)


def read_labelled(
    ds: Any,
    *,
    schema: Schema,
    target: str | Sequence[str] | None,
    inputs: str | Sequence[str] | None = None,
) -> Examples:
    """Read labelled rows to evaluate a trained model on: any number of rows, of any classes.

    Args:
        ds: Whatever `fit` accepts; a dict of one split is that split. Columns that the model does
            not use may be missing.
        schema: What is known of the training data.
        target: The column that held the labels in training (or the columns); rows may name theirs
            otherwise, where it is recognised.
        inputs: As for `read_inputs`.

    Raises:
        InputError: A column is missing, what stands there is of another kind, or classes are named
            otherwise than in training.
    """
    if isinstance(ds, Mapping) and len(ds) == 1:
        (ds,) = ds.values()
    if schema.kind == "series":
        wanted = None if isinstance(ds, tuple) else target
        return _as_series(ds, schema, inputs, for_prediction=False, target=wanted)
    named = target if isinstance(target, str) else None
    columns = _load(ds, "evaluate on", schema, named)
    wanted = [target] if isinstance(target, str) else list(target or ())
    known = wanted if wanted and set(wanted) <= set(columns.order) else None
    name = find_target(columns, known, needed=False)
    if name is None:
        raise InputError(
            f"the rows have no labels: there is no column {listing(wanted)}, as in training; "
            f"columns: {listing(columns.order)}"
        )
    dropped = [name] if isinstance(name, str) else list(name)
    frame = columns.frame.drop(columns=dropped, errors="ignore")
    rows = _as_trained(replace(columns, frame=frame), schema.kind, schema, inputs)
    aim: Aim = "values" if schema.objective == "regression" else "classes"
    num_labels = schema.num_classes
    rows = with_targets(
        rows, columns, name, "column {!r}", aim, to_train=False, num_labels=num_labels
    )
    if rows.objective != schema.objective:
        raise InputError(
            f"column {name!r} holds {MEANS[rows.objective]}, and the model was trained on "
            f"{MEANS[schema.objective]}"
        )
    if isinstance(name, str) and schema.objective != "regression":
        _refuse_other_names(labels_of_rows(rows), columns.class_names.get(name, {}), schema)
    return rows


def _as_series(
    x: Any,
    schema: Schema,
    inputs: str | Sequence[str] | None,
    *,
    for_prediction: bool,
    target: Any = None,
) -> Examples:
    """Read series, and refuse those of other channels than the model was trained on."""
    from mlexpert.data.sequences.series_rows import (
        read_series,  # it reads by what this module is read by
    )

    is_table = not isinstance(x, tuple | list | np.ndarray)
    column = [inputs] if isinstance(inputs, str) else list(inputs or ())
    parts = read_series(
        x,
        target=target,
        inputs=column[0] if column and is_table else None,
        for_prediction=for_prediction,
    )
    if list(parts) != ["all"]:
        raise InputError(f"one set of rows is needed here, not the splits {listing(parts)}")
    rows, stats = parts["all"], schema.series
    assert stats is not None, "series were described"
    channels = rows.inputs[0].shape[1]
    if channels != stats.channels:
        raise InputError(
            f"these series have {channels} channels; the model was trained on {stats.channels}: "
            "series are (steps, channels), time first."
        )
    return rows


def _load(x: Any, purpose: str, schema: Schema, target: str | None = None) -> Columns:
    """Read one set of rows; of a csv file, what were texts in training as texts: 01 is not 1."""
    texts = [column.name for column in schema.columns if isinstance(column, Categorical)]
    if (
        target is not None
        and schema.classes
        and all(isinstance(label, str) for label in schema.classes)
    ):
        texts = [*texts, target]
    parts = sources.load(x, target=target, for_prediction=purpose == "predict", as_text=texts)
    if list(parts) != ["all"]:
        raise InputError(f"one set of rows is needed here, not the splits {listing(parts)}")
    if not len(parts["all"]):
        raise InputError(f"there are no rows to {purpose}")
    return parts["all"]


def _refuse_other_names(labels: np.ndarray, declared: Mapping[int, str], schema: Schema) -> None:
    """Raise an error where numbers stand for other classes than they did in training."""
    trained = dict(zip(schema.classes, schema.class_names, strict=True))
    for label in sorted(set(labels.tolist()) & declared.keys() & trained.keys()):
        if trained[label] not in (declared[label], str(label)):
            raise InputError(
                f"label {label!r} is called {declared[label]!r} here and {trained[label]!r} in "
                "training: the classes are numbered otherwise"
            )


def _as_trained(
    columns: Columns, kind: Kind, schema: Schema, inputs: str | Sequence[str] | None
) -> Examples:
    """Give columns the roles that they had in training."""
    if kind == "tabular":
        columns, roles = _table_roles(columns, schema)
    else:
        name = _input_column(columns, kind, inputs)
        roles = Roles(kind, (name,), {}, None, None, None, (), columns.notes)
    return examples_of(columns, roles, "all")


def _refuse_one_image(x: Any, channels: int) -> None:
    """Raise an error where one image stands for a stack: it would be read as several grey ones."""
    if not (isinstance(x, np.ndarray) or is_instance(x, "torch", "Tensor")):
        return
    shape = tuple(x.shape)
    if len(shape) == 2 or (len(shape) == 3 and channels == 3 and shape[0] == 3):
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
    categories = (column for column in schema.columns if isinstance(column, Categorical))
    known = {column.name: _known(columns.frame[column.name], column) for column in categories}
    columns = replace(columns, frame=columns.frame.assign(**known))
    kinds: dict = {
        column.name: "numeric" if isinstance(column, Numeric) else "categorical"
        for column in schema.columns
    }
    return columns, Roles("tabular", tuple(names), kinds, None, None, None, (), columns.notes)


def _known(series: pd.Series, column: Categorical) -> pd.Series:
    """Return texts as training read them: 1.0, of a column with a gap, is the category 1."""
    if not isinstance(series.dtype, pd.StringDtype):
        return series
    whole = series.str.replace(r"^(-?\d+)\.0+$", r"\1", regex=True)
    return series.where(series.isin(column.categories), whole)


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
