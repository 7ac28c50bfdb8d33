"""How much a model leans on each column of a table: what is lost where the column is shuffled.

Paper: Breiman 2001, doi:10.1023/A:1010933404324, section 10; as a drop of any metric, Fisher et al.
2019, arXiv:1801.01489. Columns that say the same share their importance: each alone looks
dispensable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mlexpert.data.examples import Examples
from mlexpert.data.nearest import did_you_mean, listing
from mlexpert.data.schema import Schema
from mlexpert.errors import InputError
from mlexpert.evidence.metric_table import METRICS
from mlexpert.evidence.objectives import metrics_of
from mlexpert.fitted.predictions import row_losses
from mlexpert.training.tracking import write_json

IMPORTANCE = "importance.json"
MOST_ROWS, REPEATS, MOST_COLUMNS = 2_000, 3, 200
"""What the end of a fit spends on it: rows, shuffles of a column, and columns of a table."""
MOST_PREDICTIONS = 100_000
"""Of all shuffles together: in a wide table fewer rows are looked at."""

Arrays = dict[str, np.ndarray]
Predict = Callable[[Examples], Arrays]
"""Maps rows to their predictions, with the targets beside them."""


def permutation_importance(
    predict: Predict,
    examples: Examples,
    schema: Schema,
    *,
    repeats: int = 5,
    metric: str | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Return what shuffling each column costs, the most important column first.

    Args:
        predict: What the model says of rows.
        examples: (N,) labelled rows of a table.
        schema: What is known of the training data.
        repeats: Shuffles of a column.
        metric: What is looked at, as `evaluate` names it. None: the log loss, or for regression the
            root mean squared error in the user's unit.
        seed: Of the shuffles.

    Returns:
        Rows of "column", "mean" and "std": by how much the metric gets worse, over the repeats.

    Raises:
        InputError: If the rows are no table, or the metric is not known.
    """
    if examples.kind != "tabular":
        raise InputError(
            f"importance is that of the columns of a table, and these rows are {examples.kind}."
        )
    if not _is_whole(repeats) or repeats < 1:
        raise InputError(f"repeats={repeats!r}; a column is shuffled a whole number of times.")
    if not _is_whole(seed) or not 0 <= seed < 2**32:
        raise InputError(f"seed={seed!r}; it takes a whole number from 0 to 2**32 - 1.")
    plain = predict(examples)
    badness = _badness(metric, plain, schema)
    base = badness(plain)
    orders = list(_orders(len(examples), repeats, seed))
    rows = []
    for name in examples.inputs.columns:
        costs = [badness(predict(_shuffled(examples, name, order))) - base for order in orders]
        rows.append({"column": str(name), "mean": np.mean(costs), "std": np.std(costs)})
    return _sorted(rows)


def mean_importance(folds: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the mean over folds, and the deviation over all shuffles of all folds."""
    by_name = [{row["column"]: row for row in fold} for fold in folds]
    rows = []
    for name in by_name[0]:
        means = [fold[name]["mean"] for fold in by_name]
        within = np.mean([fold[name]["std"] ** 2 for fold in by_name])
        std = np.sqrt(within + np.var(means))
        rows.append({"column": name, "mean": np.mean(means), "std": std})
    return _sorted(rows)


def write_importance(run_dir: Path, predict: Predict, examples: Examples, schema: Schema) -> None:
    """Write what each column is worth, for tables of at most 200 columns.

    Raises:
        RunError: If the disk is full or read-only.
    """
    if examples.kind != "tabular" or not 1 < len(schema.columns) <= MOST_COLUMNS:
        return
    most = min(MOST_ROWS, MOST_PREDICTIONS // (REPEATS * len(schema.columns)))
    if len(examples) > most:
        chosen = np.random.default_rng(0).choice(len(examples), most, replace=False)
        examples = examples.select(np.sort(chosen))
    rows = permutation_importance(predict, examples, schema, repeats=REPEATS)
    write_ranked(run_dir, rows, schema, len(examples))


def write_ranked(
    run_dir: Path, columns: list[dict[str, Any]], schema: Schema, num_rows: int
) -> None:
    """Write `importance.json` into a run folder.

    Args:
        run_dir: The run folder.
        columns: Of `permutation_importance` or `mean_importance`.
        schema: What is known of the training data.
        num_rows: Rows that it was computed on.

    Raises:
        RunError: If the disk is full or read-only.
    """
    metric = "rmse" if schema.objective == "regression" else "log_loss"
    about = {"metric": metric, "rows": num_rows, "repeats": REPEATS}
    write_json(run_dir / IMPORTANCE, {**about, "columns": columns})


def _badness(metric: str | None, plain: Arrays, schema: Schema) -> Callable[[Arrays], float]:
    """Return the function of predictions that grows as they get worse.

    Raises:
        InputError: If the metric is not one of these predictions, or no way of it is better.
    """
    objective, counts = schema.objective, schema.class_counts
    if metric is None:
        root = np.sqrt if objective == "regression" else float
        return lambda arrays: float(root(row_losses(arrays, objective).mean()))
    known = metrics_of(objective, plain, train_counts=counts)
    named = isinstance(metric, str) and metric in known
    better = METRICS[metric].better if named else None
    if better is None:
        raise InputError(
            f"metric={metric!r} cannot be asked for; there are {listing(known)}."
            + did_you_mean(str(metric), list(known))
        )

    def badness(arrays: Arrays) -> float:
        value = metrics_of(objective, arrays, train_counts=counts)[metric]
        return {"higher": -value, "lower": value, "zero": abs(value)}[better]

    return badness


def _is_whole(number: object) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def _orders(num_rows: int, repeats: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the orders of a column, those that scikit-learn takes from a seed.

    They are the same for every column, so that columns differ by nothing else.
    """
    random = np.random.RandomState(seed)
    shuffle, order = np.arange(num_rows), np.arange(num_rows)
    for _ in range(repeats):
        random.shuffle(shuffle)
        order = order[shuffle]  # each repeat shuffles what the one before left
        yield order


def _shuffled(examples: Examples, name: str, order: np.ndarray) -> Examples:
    inputs = examples.inputs.copy(deep=False)
    inputs[name] = inputs[name].iloc[order].set_axis(inputs.index)
    return replace(examples, inputs=inputs)


def _sorted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    plain = [{**row, "mean": float(row["mean"]), "std": float(row["std"])} for row in rows]
    return sorted(plain, key=lambda row: -row["mean"])
