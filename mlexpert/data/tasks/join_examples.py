"""Examples of several data sets as those of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from mlexpert.data.examples import Examples
from mlexpert.data.nearest import listing
from mlexpert.data.tasks.joined_images import join_images
from mlexpert.errors import InputError


def join_examples(sets: Sequence[Examples]) -> Examples:
    """Return the rows of several sets of examples, one set after another.

    Args:
        sets: At least one; all that were read with the same roles.

    Raises:
        InputError: They differ in the kind of their inputs, in their columns, or in what their
            labels are; the message says which does, counted from 0.
    """
    first = sets[0]
    names: dict = {}
    for number, rows in enumerate(sets):
        _refuse_other(rows, first, number)
        _refuse_other_names(names, rows.class_names or {}, number)
        names |= rows.class_names or {}
    return replace(
        first,
        inputs=_joined_inputs(sets),
        targets=_joined([rows.targets for rows in sets]),
        weights=_joined([rows.weights for rows in sets]),
        groups=_joined([rows.groups for rows in sets]),
        times=_joined([rows.times for rows in sets]),
        tasks=_joined([rows.tasks for rows in sets]),
        subgroups=None
        if first.subgroups is None
        else pd.concat([rows.subgroups for rows in sets], ignore_index=True),
        class_names=names or None,
        notes=tuple(dict.fromkeys(note for rows in sets for note in rows.notes)),
    )


def _joined(columns: Sequence[Any]) -> Any:
    present = [column for column in columns if column is not None]
    return np.concatenate(present) if len(present) == len(columns) else None


def _joined_inputs(sets: Sequence[Examples]) -> Any:
    if sets[0].kind == "image":
        return join_images([rows.inputs for rows in sets])
    if sets[0].kind in ("text", "series"):
        return np.concatenate([rows.inputs for rows in sets])
    names = list(sets[0].inputs.columns)
    return pd.concat([rows.inputs[names] for rows in sets], ignore_index=True)


def _refuse_other(rows: Examples, first: Examples, number: int) -> None:
    """Raise an error where a set cannot be joined with the first."""
    if rows.kind != first.kind:
        raise InputError(
            f"the inputs of data set {number} are of kind {rows.kind!r}, and those of data set 0 "
            f"of kind {first.kind!r}: all have to be alike"
        )
    if rows.objective != first.objective:
        raise InputError(
            f"the targets of data set {number} are of another kind ({rows.objective}) than those "
            f"of data set 0 ({first.objective})"
        )
    kinds = {np.asarray(one.targets).dtype.kind for one in (rows, first)}
    if len(kinds) > 1 and not kinds <= set("iuf"):
        raise InputError(
            f"labels of data set {number} are of another type "
            f"({type(np.asarray(rows.targets)[0]).__name__}) than those of data set 0 "
            f"({type(np.asarray(first.targets)[0]).__name__})"
        )
    if rows.kind == "tabular":
        _refuse_other_columns(rows.inputs, first.inputs, number)


def _refuse_other_columns(frame: pd.DataFrame, first: pd.DataFrame, number: int) -> None:
    lacking = [name for name in first.columns if name not in frame.columns]
    new = [name for name in frame.columns if name not in first.columns]
    if lacking or new:
        raise InputError(
            f"data set {number} has other columns than data set 0: it lacks {listing(lacking)}, "
            f"and has besides {listing(new)}. Name those to use with inputs="
        )
    for name in first.columns:
        numeric = [one[name].dtype.kind == "f" for one in (first, frame)]
        if numeric[0] != numeric[1]:
            held = ["numbers" if one else "categories" for one in numeric]
            raise InputError(
                f"column {name!r} holds {held[1]} in data set {number} and {held[0]} in data set "
                "0: write it in one type"
            )


def _refuse_other_names(known: dict, names: dict, number: int) -> None:
    for label, name in names.items():
        if known.get(label, name) != name:
            raise InputError(
                f"label {label!r} is called {name!r} in data set {number} and {known[label]!r} "
                "before: number the classes of all data sets alike, or write labels as strings"
            )
