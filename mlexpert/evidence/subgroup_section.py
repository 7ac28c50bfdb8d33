"""What the report says of results by subgroup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlexpert.evidence.metric_table import in_words
from mlexpert.evidence.predictions import positive_class
from mlexpert.evidence.record import PartRecord, RunRecord
from mlexpert.evidence.subgroups import FEWEST_ROWS

_TITLES = {"balanced_accuracy": "Balanced accuracy", "micro_f1": "Micro F1", "rmse": "RMSE"}


def subgroups(record: RunRecord, shown: PartRecord[Any]) -> dict[str, Any] | None:
    """Return what the report says of each column; None where no subgroups were named."""
    found = shown.subgroups
    if not found or not found["rows"]:
        return None
    positive = None
    if record.objective == "classification" and shown.predictions.num_classes == 2:
        positive = record.class_names[positive_class(record.train_counts)]
    columns = []
    for column in dict.fromkeys(row["column"] for row in found["rows"]):
        rows = [row for row in found["rows"] if row["column"] == column]
        gaps = [gap for gap in found["gaps"] if gap["column"] == column]
        measured = [gap for gap in gaps if gap["gap"] is not None]  # JSON has no NaN
        sentences = [_sentence(gap, rows, positive) for gap in measured]
        columns.append({"name": column, "rows": rows, "sentences": sentences})
    occurring = {row.get("classes") for row in found["rows"] if not row["small"]}
    return {
        "columns": columns,
        "positive": positive,
        "fewest": FEWEST_ROWS,
        "uneven": len(occurring) > 1,
    }


def _sentence(gap: Mapping[str, Any], rows: list[dict[str, Any]], positive: str | None) -> str:
    column, best, worst = gap["column"], gap["best"], gap["worst"]
    high, low = gap["best_score"], gap["worst_score"]
    name = gap["metric"]
    if name != "recall":
        by = in_words(name, gap["gap"])
        return (
            f"{_TITLES[name]} is {in_words(name, high)} where {column} is {best} and "
            f"{in_words(name, low)} where it is {worst}: "
            + (f"the model works worse there, by {by}." if gap["gap"] else "no gap.")
        )
    number = {row["value"]: row["positives"] for row in rows}
    few = min(number[best], number[worst]) < FEWEST_ROWS
    return (
        f"Of the rows that are {positive}, {100 * high:.0f} % (of {number[best]:,}) are found "
        f"where {column} is {best} and {100 * low:.0f} % (of {number[worst]:,}) where it is "
        f"{worst}: a difference in equal opportunity of {gap['gap']:.3f}"
        + (", on so few rows that it may be chance." if few else ".")
    )
