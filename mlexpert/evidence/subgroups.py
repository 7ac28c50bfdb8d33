"""Results by subgroup: how a classifier fares for each value of a column, and the gaps.

The gap in the recall of the positive class is the difference in equal opportunity (Hardt et al.
2016, arXiv:1610.02413).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from mlexpert.errors import InputError
from mlexpert.evidence.metrics import mean_defined
from mlexpert.evidence.predictions import Predictions, check_counts, positive_class
from mlexpert.evidence.ranking import ratio

if TYPE_CHECKING:
    import pandas as pd

    from mlexpert.evidence.record import PartRecord, RunRecord

MOST_VALUES = 30
"""Values of a column that get a row each; the less frequent ones share one."""
MOST_NUMBERS = 10
"""Distinct numbers up to which a numeric column is taken value by value, not by quartiles."""
FEWEST_ROWS = 30
"""Rows below which a value is marked small and left out of the gap."""
MISSING = "missing"
GAP_METRICS = ("balanced_accuracy", "recall")
"""Metrics whose gap is reported; recall is that of the positive class, with two classes only."""


def subgroup_metrics(
    probabilities: np.ndarray,
    decisions: np.ndarray,
    targets: np.ndarray,
    subgroups: pd.DataFrame,
    *,
    train_counts: ArrayLike,
) -> list[dict[str, Any]]:
    """Return one row per column and value, most frequent value of each column first.

    Missing values are a value of their own, "missing", and come last. Of the others the 30 most
    frequent stand alone and the rest share one row. A numeric column of more than 10 distinct
    numbers is cut at the quartiles of these examples, and each part is named by its smallest and
    largest number. Numbers that are stored as text count as numbers, unless one begins with a
    needless zero, as codes do.

    Args:
        probabilities: (N, K), each row a distribution over classes.
        decisions: (N,) class indices chosen by the decision rule.
        targets: (N,) true class indices.
        subgroups: (N, S), aligned with the examples by position.
        train_counts: (K,) training rows of each class.

    Returns:
        Dictionaries with `column`, `value`, `rows`, `share` (of the N examples), `small` (fewer
        than 30 rows), `classes` (how many occur), `accuracy` and `balanced_accuracy` (mean recall
        over the classes that occur); with two classes also `positives` (rows of the positive class,
        the rarer in training), their `recall`, `false_positive_rate`, `selection_rate` (share
        decided positive) and `brier` (mean squared error of the positive class's probability). NaN
        where undefined.

    Raises:
        InputError: If shapes disagree, an index is out of range, or a row of `probabilities` is no
            distribution.
    """
    predictions = Predictions(probabilities, decisions, targets)
    counts = check_counts(train_counts, predictions.num_classes)
    if len(subgroups) != len(predictions):
        raise InputError(
            f"subgroups have {len(subgroups)} rows for {len(predictions)} examples; "
            "pass one row per example."
        )
    positive = positive_class(counts) if predictions.num_classes == 2 else None
    rows = []
    for place, column in enumerate(subgroups.columns):
        for value, mask in _values(subgroups.iloc[:, place]):
            number = int(mask.sum())
            row = {
                "column": str(column),
                "value": value,
                "rows": number,
                "share": number / len(predictions),
                "small": number < FEWEST_ROWS,
            }
            rows.append(row | _scores(predictions, mask, positive))
    return rows


def subgroup_gaps(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how far the best and the worst value of each column differ, small values left out.

    Args:
        rows: Of `subgroup_metrics`.

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
                best = max(compared, key=lambda row: row[metric])
                worst = min(compared, key=lambda row: row[metric])
                gap |= {"best": best["value"], "best_score": best[metric]}
                # Equal scores everywhere: a best value cannot be its own worst one.
                worst = compared[1] if worst is best else worst
                gap |= {"worst": worst["value"], "worst_score": worst[metric]}
                gap["gap"] = best[metric] - worst[metric]
            gaps.append(gap)
    return gaps


def section(record: RunRecord, shown: PartRecord) -> dict[str, Any] | None:
    """Return what the report says of each column; None where no subgroups were named."""
    found = shown.subgroups
    if not found or not found["rows"]:
        return None
    positive = None
    if shown.predictions.num_classes == 2:
        positive = record.class_names[positive_class(record.train_counts)]
    columns = []
    for column in dict.fromkeys(row["column"] for row in found["rows"]):
        rows = [row for row in found["rows"] if row["column"] == column]
        gaps = [gap for gap in found["gaps"] if gap["column"] == column]
        measured = [gap for gap in gaps if gap["gap"] is not None]  # JSON has no NaN
        sentences = [_sentence(gap, rows, positive) for gap in measured]
        columns.append({"name": column, "rows": rows, "sentences": sentences})
    occurring = {row["classes"] for row in found["rows"] if not row["small"]}
    return {
        "columns": columns,
        "positive": positive,
        "fewest": FEWEST_ROWS,
        "uneven": len(occurring) > 1,
    }


def _sentence(gap: Mapping[str, Any], rows: list[dict[str, Any]], positive: str | None) -> str:
    column, best, worst = gap["column"], gap["best"], gap["worst"]
    high, low = gap["best_score"], gap["worst_score"]
    if gap["metric"] == "balanced_accuracy":
        return (
            f"Balanced accuracy is {high:.3f} where {column} is {best} and {low:.3f} where it is "
            f"{worst}: "
            + (f"the model works worse there, by {gap['gap']:.3f}." if gap["gap"] else "no gap.")
        )
    number = {row["value"]: row["positives"] for row in rows}
    few = min(number[best], number[worst]) < FEWEST_ROWS
    return (
        f"Of the rows that are {positive}, {100 * high:.0f} % (of {number[best]:,}) are found "
        f"where {column} is {best} and {100 * low:.0f} % (of {number[worst]:,}) where it is "
        f"{worst}: a difference in equal opportunity of {gap['gap']:.3f}"
        + (", on so few rows that it may be chance." if few else ".")
    )


def _scores(
    predictions: Predictions, mask: np.ndarray, positive: int | None
) -> dict[str, int | float]:
    """Return the metrics of the examples in `mask` (N,), at least one."""
    targets, decisions = predictions.targets[mask], predictions.decisions[mask]
    support = np.bincount(targets, minlength=predictions.num_classes)
    hits = np.bincount(targets[targets == decisions], minlength=predictions.num_classes)
    scores: dict[str, int | float] = {
        "classes": int((support > 0).sum()),
        "accuracy": float(hits.sum() / len(targets)),
        "balanced_accuracy": float(mean_defined(ratio(hits, support))),
    }
    if positive is None:
        return scores
    truth, chosen = targets == positive, decisions == positive
    return scores | {
        "positives": int(truth.sum()),
        "recall": float(ratio(hits, support)[positive]),
        "false_positive_rate": float(1 - ratio(hits, support)[1 - positive]),
        "selection_rate": float(chosen.mean()),
        "brier": float(np.mean((predictions.probabilities[mask, positive] - truth) ** 2)),
    }


def _values(series: pd.Series) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each value of a column, as a reader knows it, and where (N,) it stands."""
    from mlexpert.data.table import as_categories  # pandas: a report does without it

    names = as_categories(series)
    absent = names.isna().to_numpy()
    numbers = _numbers(names)
    if numbers is not None:
        yield from _quartiles(numbers, ~absent)
    else:
        texts = names.to_numpy(dtype=object)
        absent = absent | (texts == MISSING)
        counts = names[~absent].value_counts()
        order = sorted(counts.index, key=lambda name: (-counts[name], name))
        for name in order[:MOST_VALUES]:
            yield name, texts == name
        rest = order[MOST_VALUES:]
        if rest:
            plural = "value" if len(rest) == 1 else "values"
            yield f"other ({len(rest)} {plural})", names.isin(rest).to_numpy()
    if absent.any():
        yield MISSING, absent


def _numbers(names: pd.Series) -> np.ndarray | None:
    """Return a column's numbers (N,) with NaN for missing; None unless it is numbers, and many."""
    import pandas as pd

    present = names.dropna()
    if present.nunique() <= MOST_NUMBERS or present.str.match(r"-?0\d").any():
        return None
    numbers = pd.to_numeric(names, errors="coerce").to_numpy(dtype=np.float64)
    return numbers if np.isfinite(numbers[names.notna()]).all() else None


def _quartiles(numbers: np.ndarray, present: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the quarters of a numeric column, lowest first; equal numbers stay together."""
    known = numbers[present]
    cuts = np.unique(np.quantile(known, [0.25, 0.5, 0.75], method="lower"))
    # A number that fills more than a quarter ends a part; if it is the largest one, it begins it.
    column = numbers[:, None]
    part = (cuts <= column if cuts[0] == known.max() else cuts < column).sum(axis=1)
    masks = [present & (part == number) for number in np.unique(part[present])]
    yield from zip(_ranges([numbers[mask] for mask in masks]), masks, strict=True)


def _ranges(parts: list[np.ndarray]) -> list[str]:
    """Return a name for each part, with as many digits as keep the names apart."""
    names: list[str] = []
    for digits in range(4, 18):
        ends = [[_text(float(end), digits) for end in (one.min(), one.max())] for one in parts]
        names = [low if low == high else f"{low} to {high}" for low, high in ends]
        if len(set(names)) == len(names):
            break
    return names


def _text(value: float, digits: int) -> str:
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.{max(digits, len(str(int(abs(value)))) if abs(value) < 1e15 else 0)}g}"
