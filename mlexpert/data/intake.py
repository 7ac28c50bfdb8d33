"""Reading whatever the user has into examples with roles: the door through which data comes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from mlexpert.data import sources
from mlexpert.data.assemble import Aim, examples_of
from mlexpert.data.examples import MEANS, Examples
from mlexpert.data.label_sets import labels_of_rows, refuse_useless_sets
from mlexpert.data.roles import find_roles
from mlexpert.data.targets import refuse_non_classes, refuse_unknown
from mlexpert.data.tasks.rows import read_tasks, values_of
from mlexpert.data.tasks.streams import Stream
from mlexpert.data.values import refuse_constant
from mlexpert.data.weights import read_weights
from mlexpert.errors import InputError


def read(
    ds: Any,
    *,
    target: str | Sequence[str] | None = None,
    inputs: str | Sequence[str] | None = None,
    group: str | None = None,
    time: str | None = None,
    subgroups: str | Sequence[str] | None = None,
    sample_weight: Any = None,
    objective: Aim = "classes",
    for_prediction: bool = False,
) -> dict[str, Examples]:
    """Read data into examples by split.

    Args:
        ds: A Hugging Face `Dataset`, `DatasetDict` or `IterableDataset`, a `DataFrame`, a pair (X,
            y) of arrays, tensors or lists, a torch map-style `Dataset`, a dict of such by split, a
            path (parquet, csv, a folder of class folders), the name of a dataset on the hub,
            "demo", or a `Stream`, whose rows come with their tasks.
        target: The column of the labels; else the one `ClassLabel` feature, or the one column
            called label, labels, target, class or y. A column of lists holds any number of labels a
            row; so do several columns of 0 and 1, and a y of shape (N, K).
        inputs: The input columns; else every column without another role.
        group: A column whose equal values must stay in one split.
        time: A column by which rows are split into past and future: numbers, dates, or ISO 8601
            strings.
        subgroups: Columns by which results are also reported; they stay inputs of a table.
        sample_weight: How much each row counts: a column, which is then no input, or an array (N,)
            for the undivided rows or those of train; other parts then count alike.
        objective: Whether classes (or labels) are to be predicted, or numbers.
        for_prediction: Rows to predict: X alone is enough, labels may be absent, and any number of
            classes will do.

    Returns:
        {"all": examples}, or the user's own split: "train" and any of "validation" and "test".

    Raises:
        InputError: The data cannot be used as it is; the message says what was seen and what to do.
    """
    named = _Named(target, inputs, group, time, subgroups, sample_weight)
    if isinstance(ds, Stream):
        _check_use(ds, named, objective, for_prediction)
        named = replace(
            named,
            target=ds.target if target is None else target,
            inputs=ds.inputs if inputs is None else inputs,
        )
        read_one = partial(_read_one, named=named, objective=objective)
        # A single task may be one more class, for a model that knows others.
        return read_tasks(ds, read_one, partial(check_targets, fewest=min(2, ds.num_tasks)))
    examples, _ = _read_one(
        ds, None, named=named, objective=objective, for_prediction=for_prediction
    )
    if not for_prediction:
        check_targets(examples)
    return examples


@dataclass(frozen=True)
class _Named:
    """The roles as the user named them."""

    target: str | Sequence[str] | None
    inputs: str | Sequence[str] | None
    group: str | None
    time: str | None
    subgroups: str | Sequence[str] | None
    sample_weight: Any


def _check_use(stream: Stream, named: _Named, objective: Aim, for_prediction: bool) -> None:
    """Refuse a stream where it cannot be used."""
    if for_prediction:
        raise InputError("one set of rows is needed here, not a stream: choose a task, stream[0]")
    if objective == "values":
        raise InputError("a stream's rows have classes, and this recipe predicts numbers")
    weights = named.sample_weight
    if stream.sets is not None and weights is not None and not isinstance(weights, str):
        raise InputError("each data set of a stream has weights of its own: name their column")


def _read_one(
    ds: Any, by: str | None, *, named: _Named, objective: Aim, for_prediction: bool = False
) -> tuple[dict[str, Examples], dict[str, np.ndarray]]:
    """Read one data set, and the values (N,) of the column `by`, by split."""
    target = named.target if isinstance(named.target, str) else None
    parts = sources.load(ds, target=target, for_prediction=for_prediction)
    first = "all" if "all" in parts else "train"
    for part, columns in parts.items():
        if not len(columns):
            raise InputError(
                "the data has no rows" if part == "all" else f"the {part} split has no rows"
            )
    weights = named.sample_weight
    roles = find_roles(
        parts[first],
        target=named.target,
        inputs=named.inputs,
        group=named.group,
        time=named.time,
        subgroups=named.subgroups,
        weight=weights if isinstance(weights, str) else None,
        by=by,
        target_needed=not for_prediction,
    )
    examples = {
        part: examples_of(columns, roles, part, objective) for part, columns in parts.items()
    }
    if weights is not None and not isinstance(weights, str):
        rows = examples[first]
        read_in = read_weights(weights, "sample_weight", len(rows))
        examples[first] = replace(rows, weights=read_in)
    if by is None:
        return examples, {}
    return examples, {part: values_of(columns, by) for part, columns in parts.items()}


def check_targets(examples: dict[str, Examples], fewest: int = 2) -> None:
    """Raise an error where targets cannot be learned from, or differ from split to split."""
    first = "all" if "all" in examples else "train"
    known = examples[first]
    if known.targets is None:
        raise InputError("there are no labels: name their column with target=")
    where = f"target column {known.target_name!r}"
    if known.objective == "regression":
        return refuse_constant(known.targets, where)
    if known.objective == "multilabel":
        refuse_useless_sets(known.targets, where)
    else:
        refuse_non_classes(known.targets, where, known.class_names is not None, fewest=fewest)
    for part, rows in examples.items():
        if part == first or rows.targets is None:
            continue
        if rows.objective != known.objective:
            raise InputError(
                f"the {part} split holds {MEANS[rows.objective]}, and the train split "
                f"{MEANS[known.objective]}"
            )
        refuse_unknown(labels_of_rows(rows), labels_of_rows(known), part)
        declared = (rows.class_names, known.class_names)
        if None not in declared and declared[0] != declared[1]:
            raise InputError(f"the {part} split names its classes otherwise than the train split")
    return None
