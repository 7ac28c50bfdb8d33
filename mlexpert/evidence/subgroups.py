"""Results by subgroup: how a model fares for each value of a column, and the gaps.

The gap in the recall of the positive class is the difference in equal opportunity (Hardt et al.
2016, arXiv:1610.02413).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from mlexpert.data.examples import Objective
from mlexpert.errors import InputError
from mlexpert.evidence.metrics import mean_defined
from mlexpert.evidence.objectives import scores
from mlexpert.evidence.predictions import (
    AnyPredictions,
    LabelPredictions,
    Predictions,
    ValuePredictions,
    check_counts,
    positive_class,
    predictions_of,
)
from mlexpert.evidence.ranking import ratio
from mlexpert.evidence.subgroup_values import values_of

if TYPE_CHECKING:
    import pandas as pd

FEWEST_ROWS = 30
"""Rows below which a value is marked small and left out of the gap."""
GAP_METRICS = ("balanced_accuracy", "recall", "micro_f1", "rmse")
"""Metrics whose gap is reported; recall is that of the positive class, with two classes only."""


def subgroups_of(
    objective: Objective,
    arrays: Mapping[str, np.ndarray],
    subgroups: pd.DataFrame,
    *,
    train_counts: ArrayLike,
) -> dict[str, list[dict[str, Any]]]:
    """Return "rows", one per column and value, most frequent value first, and "gaps".

    Missing values are a value of their own, "missing", and come last. Of the others the 30 most
    frequent stand alone and the rest share one row. A numeric column of more than 10 distinct
    numbers is cut at the quartiles of these examples, and each part is named by its smallest and
    largest number. Numbers that are stored as text count as numbers, unless one begins with a
    needless zero, as codes do.

    Args:
        objective: What is predicted.
        arrays: Of N examples, as for `metrics_of`.
        subgroups: (N, S), aligned with the examples by position.
        train_counts: (K,) training rows of each class; only classification needs them.

    Returns:
        Rows are dictionaries with `column`, `value`, `rows`, `share` (of the N examples) and
        `small` (fewer than 30 rows). For classification also `classes` (how many occur), `accuracy`
        and `balanced_accuracy` (mean recall over the classes that occur); with two classes also
        `positives` (rows of the positive class, the rarer in training), their `recall`,
        `false_positive_rate`, `selection_rate` (share decided positive) and `brier` (mean squared
        error of the positive class's probability). For labels `labels` (mean number a row has),
        `micro_f1` and `subset_accuracy`; for regression `rmse`, `mae`, `mean_error` and
        `rmse_of_mean`. NaN where undefined. Gaps are those of `subgroup_gaps`.

    Raises:
        InputError: If shapes disagree, or an array is not what the objective needs.
    """
    predictions = predictions_of(objective, arrays)
    if len(subgroups) != len(predictions):
        raise InputError(
            f"subgroups have {len(subgroups)} rows for {len(predictions)} examples; "
            "pass one row per example."
        )
    rows = []
    for place, column in enumerate(subgroups.columns):
        for value, mask in values_of(subgroups.iloc[:, place]):
            number = int(mask.sum())
            row = {
                "column": str(column),
                "value": value,
                "rows": number,
                "share": number / len(predictions),
                "small": number < FEWEST_ROWS,
            }
            rows.append(row | _scores(predictions, mask, train_counts))
    return {"rows": rows, "gaps": subgroup_gaps(rows)}


def subgroup_gaps(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how far the best and the worst value of each column differ, small values left out.

    Args:
        rows: Of `subgroups_of`.

    Returns:
        Dictionaries with `column`, `metric` (of `GAP_METRICS`), `gap`, `best` and `worst` (values
        of the column) with `best_score` and `worst_score`. Where fewer than two values can be
        compared, `gap` and scores are NaN, and `best` and `worst` None.
    """
    gaps = []
    for column in dict.fromkeys(row["column"] for row in rows):
        own = [row for row in rows if row["column"] == column]
        for metric in GAP_METRICS:
            if metric not in own[0]:
                continue
            compared = [row for row in own if not row["small"] and not math.isnan(row[metric])]
            gap = {"column": column, "metric": metric, "gap": np.nan, "best": None, "worst": None}
            gap |= {"best_score": np.nan, "worst_score": np.nan}
            if len(compared) > 1:
                low, high = (choose(compared, key=lambda row: row[metric]) for choose in (min, max))
                best, worst = (low, high) if metric == "rmse" else (high, low)
                gap |= {"best": best["value"], "best_score": best[metric]}
                # Equal scores everywhere: a best value cannot be its own worst one.
                worst = compared[1] if worst is best else worst
                gap |= {"worst": worst["value"], "worst_score": worst[metric]}
                gap["gap"] = abs(best[metric] - worst[metric])
            gaps.append(gap)
    return gaps


def _scores(
    predictions: AnyPredictions, mask: np.ndarray, train_counts: ArrayLike
) -> dict[str, int | float]:
    """Return the metrics of the examples in `mask` (N,), at least one."""
    if isinstance(predictions, ValuePredictions):
        own = ValuePredictions(predictions.predictions[mask], predictions.targets[mask])
        return _chosen(own, ("rmse", "mae", "mean_error", "rmse_of_mean"))
    if isinstance(predictions, LabelPredictions):
        parts = (predictions.probabilities, predictions.decisions, predictions.targets)
        labels = LabelPredictions(*(part[mask] for part in parts))
        scored = _chosen(labels, ("micro_f1", "subset_accuracy"))
        return {"labels": float(labels.targets.sum(axis=1).mean()), **scored}
    assert isinstance(predictions, Predictions), "sequences have no subgroups"
    return _class_scores(predictions, mask, train_counts)


def _chosen(predictions: AnyPredictions, names: tuple[str, ...]) -> dict[str, int | float]:
    found = scores(predictions, ())
    return {name: found[name] for name in names}


def _class_scores(
    predictions: Predictions, mask: np.ndarray, train_counts: ArrayLike
) -> dict[str, int | float]:
    counts = check_counts(train_counts, predictions.num_classes)
    positive = positive_class(counts) if predictions.num_classes == 2 else None
    targets, decisions = predictions.targets[mask], predictions.decisions[mask]
    support = np.bincount(targets, minlength=predictions.num_classes)
    hits = np.bincount(targets[targets == decisions], minlength=predictions.num_classes)
    found: dict[str, int | float] = {
        "classes": int((support > 0).sum()),
        "accuracy": float(hits.sum() / len(targets)),
        "balanced_accuracy": float(mean_defined(ratio(hits, support))),
    }
    if positive is None:
        return found
    truth, chosen = targets == positive, decisions == positive
    return found | {
        "positives": int(truth.sum()),
        "recall": float(ratio(hits, support)[positive]),
        "false_positive_rate": float(1 - ratio(hits, support)[1 - positive]),
        "selection_rate": float(chosen.mean()),
        "brier": float(np.mean((predictions.probabilities[mask, positive] - truth) ** 2)),
    }
