"""Rows with their roles, in the user's own terms: what intake makes and all else reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["image", "text", "tabular", "series", "words", "frame"]
Part = Literal["train", "validation", "test"]
Objective = Literal[
    "classification", "multilabel", "regression", "tokens", "tags", "transduction", "forecast"
]
"""What is predicted of a row: one of K classes, any of K labels, a number; or a sequence: the next
token at every place, a tag for each word, another sequence, or the values to come."""
SEQUENCES: tuple[Objective, ...] = ("tokens", "tags", "transduction", "forecast")
"""Objectives whose answer to a row is a sequence."""
MEANS = {
    "classification": "one label a row",
    "multilabel": "sets of labels",
    "regression": "numbers",
    "tokens": "texts to go on with",
    "tags": "a tag for each word",
    "transduction": "another sequence",
    "forecast": "the values to come",
}
"""How messages speak of the targets of an objective."""


@dataclass(frozen=True)
class Examples:
    """A set of rows: inputs, and whichever roles the user named.

    Attributes:
        kind: What one input is.
        inputs: `Images` for images, an object array (N,) of `str` for text, a `DataFrame` (N, D)
            for tables, an object array (N,) of float32 arrays (T_i, C) for series.
        objective: What the targets are.
        targets: (N,) what is to be predicted, or None for rows to predict: labels as the user wrote
            them (classification), an object array of tuples of them, sorted (multilabel), or
            float64 (regression).
        weights: (N,) float64, how much each row counts in training and in what is chosen on
            validation, or None where all count alike.
        class_names: Display name of each label, where the source declares them (a `ClassLabel`
            feature); else None.
        groups: (N,) group of each row, or None.
        times: (N,) sortable time of each row, or None.
        subgroups: Columns (N, S) by which results are also reported, or None.
        tasks: (N,) int64 number of the task, from 0, in which each row of a stream comes, or None
            where the data is no stream.
        part: The split that these rows belong to. None before the split: nothing may be fitted on
            such rows.
        target_name: The column that the targets were read from, or the several; or None.
        input_names: The columns that the inputs were read from.
        notes: What the user should know about how the rows were read, e.g. which columns were
            left out.
    """

    kind: Kind
    inputs: Any  # Images | np.ndarray | pd.DataFrame, as `kind` says
    targets: np.ndarray | None = None
    objective: Objective = "classification"
    weights: np.ndarray | None = None
    class_names: dict | None = None
    groups: np.ndarray | None = None
    times: np.ndarray | None = None
    subgroups: pd.DataFrame | None = None
    tasks: np.ndarray | None = None
    part: Part | None = None
    target_name: str | tuple[str, ...] | None = None
    input_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.inputs)

    def select(self, indices: np.ndarray, part: Part | None = None) -> Examples:
        """Return the rows at `indices` (N',), marked as belonging to `part`."""
        return replace(
            self,
            inputs=self.inputs.iloc[indices] if self.kind == "tabular" else self.inputs[indices],
            targets=_take(self.targets, indices),
            weights=_take(self.weights, indices),
            groups=_take(self.groups, indices),
            times=_take(self.times, indices),
            subgroups=None if self.subgroups is None else self.subgroups.iloc[indices],
            tasks=_take(self.tasks, indices),
            part=part if part is not None else self.part,
        )


def _take(column, indices: np.ndarray):
    return None if column is None else column[indices]
