"""What the report says of a regression: predictions beside the truth, and the errors."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from mlexpert.evidence.metric_table import quantity
from mlexpert.evidence.predictions import ValuePredictions
from mlexpert.evidence.record import PartRecord
from mlexpert.evidence.values import figures

_QUANTILES = {
    "Smallest": 0.0, "5 %": 0.05, "25 %": 0.25, "Median": 0.5, "75 %": 0.75, "95 %": 0.95,
    "Largest": 1.0,
}  # fmt: skip


def values(shown: PartRecord[ValuePredictions]) -> dict[str, Any]:
    """Return the figures of a split, and what they leave out."""
    targets, predictions = shown.predictions.targets, shown.predictions.predictions
    errors = shown.predictions.errors
    ends, limits = (
        figures.number_limits(targets, predictions),
        figures.error_limits(errors),
    )
    outside = ~_within(predictions, ends) | ~_within(errors, limits)
    where, _ = figures.error_quantiles(predictions, errors)
    return {
        "against": Markup(
            figures.predicted_against_true(targets, predictions, ends, color=shown.name)
        ),
        "errors": Markup(
            figures.errors_against_predicted(predictions, errors, ends, limits, color=shown.name)
        ),
        "histogram": Markup(figures.error_histogram(errors, limits, color=shown.name)),
        "dots": len(errors) <= figures.MOST_DOTS,
        "banded": len(where) > 1,
        "outside": int(outside.sum()),
        "rows": len(errors),
        "mean": quantity(float(errors.mean())),
        "quantiles": [
            (name, quantity(float(np.quantile(errors, level))))
            for name, level in _QUANTILES.items()
        ],
    }


def _within(values: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    return (values >= ends[0]) & (values <= ends[1])
