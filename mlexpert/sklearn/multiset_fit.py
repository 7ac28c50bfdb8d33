"""Fit a recipe on rows as a weighted multiset: order means nothing, repetition means weight.

There is no sealed test here, and rows are held out for validation also where a class is too rare to
be divided: other tools hold rows back, and hand in whatever is left.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlexpert.data.arrays import from_inputs
from mlexpert.data.examples import Examples, Kind
from mlexpert.data.fingerprint import number_rows, row_digests
from mlexpert.data.hold_out import hold_out
from mlexpert.data.multiset import canonical
from mlexpert.data.nearest import listing
from mlexpert.data.strata import NUM_BINS, quantile_bins
from mlexpert.errors import InputError
from mlexpert.fitted import Fitted
from mlexpert.recipe import Recipe

FEWEST_AUDITED = 1_000
"""Training rows from which findings of the audit are warned of: a column that tells the class in a
small table is more often an easy problem than a leak."""

Pairs = dict[str, tuple[Any, np.ndarray]]


@dataclass(frozen=True)
class Rows:
    """Rows to fit on.

    Attributes:
        kind: What one input is.
        inputs: (N,) inputs: a frame, a list of texts, or images.
        targets: (N,) what the recipe is to predict, as it takes it.
        numbers: (N,) the same as numbers: classes, from 0 without gaps, or values.
        weights: (N,) how much each row counts, or None for all alike.
    """

    kind: Kind
    inputs: Any
    targets: np.ndarray
    numbers: np.ndarray
    weights: np.ndarray | None


def fit_multiset(recipe: Recipe, rows: Rows, *, runs_dir: str | Path | None = None) -> Fitted:
    """Fit a recipe on rows, some of which are held out for validation.

    Args:
        recipe: What to fit; its seed also draws the rows that are held out.
        rows: The rows.
        runs_dir: Folder in which the run's folder is left. None: nowhere.

    Raises:
        InputError: If fewer than two rows count, or the recipe refuses them.
    """
    exact, alike = _digests(rows)
    order, weights = canonical(exact, rows.numbers, rows.weights)
    if len(order) < 2:
        raise InputError(f"n_samples={len(order)}: at least 2 rows are needed to train.")
    numbers, targets = rows.numbers[order], rows.targets[order]
    bins = min(NUM_BINS, len(order) // 2)
    strata = numbers if recipe.objective == "classes" else quantile_bins(numbers, bins)
    contents = number_rows(alike[order])[0]
    held = hold_out(contents, strata, recipe.validation, np.random.default_rng(recipe.seed))
    _warn_of_unheld(held, targets, recipe)
    sides = {"train": ~held, "validation": held if held.any() else ~held}
    pairs = {name: (_take(rows, order[side]), targets[side]) for name, side in sides.items()}
    sample_weight = None
    if weights is not None:
        weighed = {name: weights[side] for name, side in sides.items()}
        pairs, sample_weight = _weighed(rows.kind, pairs, weighed)
    with _run_dir(runs_dir, recipe) as run_dir, warnings.catch_warnings():
        # It takes the rows that were held out here for a split of the user's.
        warnings.filterwarnings("ignore", message="leakage audit")
        fitted = recipe.fit(
            pairs, sample_weight=sample_weight, run_dir=run_dir, leakage="report", progress=False
        )
    _warn_of_columns(fitted)
    if runs_dir is not None:
        return fitted
    # The run is gone; what was held back for it need not stay in memory.
    return Fitted(fitted.recipe, fitted.schema, fitted.parts, facts=fitted.facts)


def _digests(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return two digests (N, 2) of each row: of what the model sees, and of what is a duplicate."""
    columns = from_inputs(rows.inputs)
    if rows.kind == "image":
        (images,) = columns.images.values()
        alike = row_digests(Examples("image", images))
        return alike, alike
    # By their place: an array and a frame of the same numbers are the same rows.
    frame = columns.frame.set_axis(range(columns.frame.shape[1]), axis=1)
    exact = row_digests(Examples("tabular", frame))
    if rows.kind == "tabular":
        return exact, exact
    return exact, row_digests(Examples("text", frame[0].to_numpy()))


def _take(rows: Rows, index: np.ndarray) -> Any:
    inputs = rows.inputs
    if isinstance(inputs, pd.DataFrame | pd.Series):
        return inputs.iloc[index]
    return [inputs[i] for i in index] if isinstance(inputs, list | tuple) else inputs[index]


def _weighed(
    kind: Kind, pairs: Pairs, weights: Mapping[str, np.ndarray]
) -> tuple[Pairs, str | np.ndarray]:
    """Return the pairs and `Recipe.fit`'s `sample_weight`; to a table weights are a column."""
    if kind != "tabular":
        return pairs, weights["train"]  # validation rows have no place for theirs
    name = "sample_weight"
    while name in pairs["train"][0].columns:
        name += "_"
    return {
        part: (frame.assign(**{name: weights[part]}), targets)
        for part, (frame, targets) in pairs.items()
    }, name


@contextmanager
def _run_dir(kept: str | Path | None, recipe: Recipe) -> Iterator[Path]:
    """Give a new run folder: below `kept`, or one that is removed afterwards."""
    prefix = f"{recipe.name.replace('/', '-')}-"
    if kept is None:
        with tempfile.TemporaryDirectory(prefix=prefix) as folder:
            yield Path(folder)
    else:
        Path(kept).mkdir(parents=True, exist_ok=True)
        yield Path(tempfile.mkdtemp(prefix=prefix, dir=kept))


def _warn_of_columns(fitted: Fitted) -> None:
    if fitted.schema.num_examples < FEWEST_AUDITED:
        return
    for finding in fitted.facts["leakage"]:
        if finding["severity"] == "warning" and finding["check"].endswith("columns"):
            warnings.warn(f"leakage audit: {finding['message']}", stacklevel=4)


def _warn_of_unheld(held: np.ndarray, targets: np.ndarray, recipe: Recipe) -> None:
    if not held.any():
        warnings.warn(
            "too few distinct rows to hold any out for validation: what is chosen on validation "
            "rows is chosen on training rows, and the model will be too sure of itself.",
            stacklevel=4,
        )
    elif recipe.objective == "classes":
        unseen = np.setdiff1d(targets, targets[held])
        if len(unseen):
            warnings.warn(
                "too few distinct rows to hold one out for validation, of class "
                f"{listing(unseen, limit=5)}: all are trained on.",
                stacklevel=4,
            )
