"""Reading whatever the user has into examples with roles: the door through which data comes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mlexpert.data import sources
from mlexpert.data.assemble import Aim, examples_of
from mlexpert.data.examples import MEANS, Examples
from mlexpert.data.label_sets import labels_of_rows, refuse_useless_sets
from mlexpert.data.roles import Roles, find_roles
from mlexpert.data.targets import refuse_non_classes, refuse_unknown
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
            path (parquet, csv, a folder of class folders), the name of a dataset on the hub, or
            "demo".
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
    named = target if isinstance(target, str) else None
    parts = sources.load(ds, target=named, for_prediction=for_prediction)
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
        weight=sample_weight if isinstance(sample_weight, str) else None,
        target_needed=not for_prediction,
    )
    examples = {
        part: examples_of(columns, roles, part, objective) for part, columns in parts.items()
    }
    if sample_weight is not None and not isinstance(sample_weight, str):
        rows = examples[first]
        weights = read_weights(sample_weight, "sample_weight", len(rows))
        examples[first] = replace(rows, weights=weights)
    if not for_prediction:
        _check_targets(examples, first, roles)
    return examples


def _check_targets(examples: dict[str, Examples], first: str, roles: Roles) -> None:
    """Raise an error where targets cannot be learned from, or differ from split to split."""
    known = examples[first]
    if known.targets is None:
        raise InputError("there are no labels: name their column with target=")
    where = f"target column {roles.target!r}"
    if known.objective == "regression":
        return refuse_constant(known.targets, where)
    if known.objective == "multilabel":
        refuse_useless_sets(known.targets, where)
    else:
        refuse_non_classes(known.targets, where, declared=known.class_names is not None)
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
