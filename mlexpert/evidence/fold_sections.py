"""What the report says of a run that was fitted on several folds: each fold's scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlexpert.evidence.metric_table import METRICS, in_words
from mlexpert.evidence.record import RunRecord

_SCORES = {
    "classification": ("balanced_accuracy", "accuracy", "macro_f1", "log_loss"),
    "multilabel": ("micro_f1", "macro_f1", "mean_average_precision", "log_loss"),
    "regression": ("rmse", "mae", "r2", "mean_error"),
}


def folds(record: RunRecord) -> dict[str, Any] | None:
    """Return the scores of each fold on the rows that it left out; None for a run without folds."""
    if not record.run.get("folds"):
        return None
    names = _SCORES[record.objective]
    rows = []
    for one in record.folds:
        part = one.validation
        scores = {name: part.metrics[name] if part else _best(one, name) for name in names}
        rows.append(
            {
                "name": one.path.name,
                "status": one.run.get("status", "unknown"),
                "rows": len(part.predictions) if part else None,
                "scores": [in_words(name, scores[name]) for name in names],
                "values": [scores[name] for name in names],
            }
        )
    values = np.array([row["values"] for row in rows], dtype=float).reshape(len(rows), len(names))
    return {
        "number": record.run["folds"],
        "titles": [METRICS[name].title for name in names],
        "rows": rows,
        "spread": [_spread(name, column) for name, column in zip(names, values.T, strict=True)],
    }


def _best(record: RunRecord, name: str) -> float:
    """Return a score of the selected epoch, for a fold whose predictions are not there."""
    if METRICS[name].in_unit:  # the history has it standardised
        return np.nan
    value = (record.run.get("best") or {}).get(name)
    return np.nan if value is None else value


def _spread(name: str, values: np.ndarray) -> tuple[str, str]:
    """Return mean and standard deviation over the folds (F,), in words."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return in_words(name, np.nan), ""
    deviation = float(known.std(ddof=1)) if len(known) > 1 else np.nan
    return in_words(name, float(known.mean())), in_words(name, deviation)
