"""Metrics of a model that predicts a number, in that number's own unit.

As those of a classifier, every metric is a function of a row of example weights; an undefined one
is NaN, never 0.
"""

from __future__ import annotations

import numpy as np

from mlexpert.evidence.predictions import ValuePredictions
from mlexpert.evidence.ranking import ratio


class WeightedValueMetrics:
    """Metrics of fixed predictions under many rows of example weights."""

    def __init__(self, predictions: ValuePredictions) -> None:
        """Compute every per-example term."""
        self._errors = predictions.errors
        # Centred first: a spread beside a large mean would drown in rounding.
        self._centred = predictions.targets - predictions.targets.mean()
        self._sizes = np.abs(self._errors)
        self._order = np.argsort(self._sizes, kind="stable")

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return each metric (R,) under `weights` (R, N), non-negative numbers.

        `mean_error` is predicted less true: positive where the model says too much. `rmse_of_mean`
        is the error of predicting the mean of these very targets for each of them, the best that
        one number can do; `r2` is the share of its square that the model saves.
        """
        total = weights.sum(axis=1)
        squares = weights @ self._errors**2 / total
        means = weights @ self._centred / total
        spread = np.maximum(weights @ self._centred**2 / total - means**2, 0.0)
        if np.ptp(self._centred) == 0:
            spread = np.zeros_like(spread)
        return {
            "rmse": np.sqrt(squares),
            "mae": weights @ self._sizes / total,
            "median_absolute_error": self._median(weights),
            "r2": 1 - ratio(squares, spread),
            "mean_error": weights @ self._errors / total,
            "rmse_of_mean": np.sqrt(spread),
        }

    def _median(self, weights: np.ndarray) -> np.ndarray:
        """Return the middle of the sizes (R,), or the mean of two that share the middle."""
        reached = np.cumsum(weights[:, self._order], axis=1)
        half = reached[:, -1:] / 2
        middle = [(reached < half).sum(axis=1), (reached <= half).sum(axis=1)]
        return self._sizes[self._order][middle].mean(axis=0)
