"""The metrics of whatever a model predicts: a class, labels or a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from mlexpert.data.examples import Objective
from mlexpert.evidence.labels.metrics import WeightedLabelMetrics
from mlexpert.evidence.metrics import WeightedMetrics
from mlexpert.evidence.predictions import (
    AnyPredictions,
    LabelPredictions,
    ValuePredictions,
    predictions_of,
)
from mlexpert.evidence.sequences.metrics import CountedPredictions, WeightedCounts
from mlexpert.evidence.values.metrics import WeightedValueMetrics

Weighted = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Metrics (R,) by name, of example weights (R, N)."""


def metrics_of(
    objective: Objective, arrays: Mapping[str, np.ndarray], *, train_counts: ArrayLike
) -> dict[str, float]:
    """Return every metric of one set of predictions.

    Args:
        objective: What is predicted.
        arrays: For classification "probabilities" (N, K), "decisions" (N,) and "targets" (N,); for
            multilabel the same, each (N, K); for regression "predictions" (N,) and "targets" (N,)
            in the user's unit. For classification maybe "cost" (K, K), of the true class in rows
            and the decided one in columns, and "uncalibrated" (N, K), probabilities before
            calibration. For sequences sums (N,) by row; see `counted_metrics`. Others are not
            looked at.
        train_counts: (K,) training rows of each class; only classification needs them.

    Returns:
        Metric name, as in `METRICS`, to value; NaN where a metric is undefined. `top5_accuracy` is
        there for more than five classes, `expected_cost` where there are costs, and
        `uncalibrated_ece` where the probabilities before calibration are known.

    Raises:
        InputError: If an array is missing or not what the objective needs.
    """
    return scores(predictions_of(objective, arrays), train_counts)


def scores(predictions: AnyPredictions, train_counts: ArrayLike) -> dict[str, float]:
    """Return what `metrics_of` does, of predictions that were checked."""
    values = weighted_metrics(predictions, train_counts)(np.ones((1, len(predictions))))
    return {name: float(value[0]) for name, value in values.items()}


def weighted_metrics(predictions: AnyPredictions, train_counts: ArrayLike) -> Weighted:
    """Return the metrics of fixed predictions as a function of example weights.

    Raises:
        InputError: If `train_counts` does not have one count per class.
    """
    if isinstance(predictions, CountedPredictions):
        return WeightedCounts(predictions)
    if isinstance(predictions, ValuePredictions):
        return WeightedValueMetrics(predictions)
    if isinstance(predictions, LabelPredictions):
        return WeightedLabelMetrics(predictions)
    return WeightedMetrics(predictions, train_counts)
