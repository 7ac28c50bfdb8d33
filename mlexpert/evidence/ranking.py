"""Areas under the ROC and the precision-recall curve, under many rows of example weights."""

from __future__ import annotations

import numpy as np


class Ranking:
    """Areas under the ROC and the precision-recall curve of one class against the rest.

    Ties share a threshold. An area is NaN where there is no positive, or for the ROC no negative.
    """

    def __init__(self, scores: np.ndarray, positive: np.ndarray) -> None:
        """Sort `scores` (N,) of examples that are `positive` (N,) or not."""
        self._order = np.argsort(-scores, kind="stable")
        scores = scores[self._order]
        self._where = np.flatnonzero(positive[self._order])
        of_positives = scores[self._where]
        # Equal scores share a threshold: sums run to the end of the tie, and from its start.
        self._end = np.searchsorted(-scores, -of_positives, side="right")
        self._start = np.searchsorted(-scores, -of_positives, side="left")
        self._last = np.searchsorted(-of_positives, -of_positives, side="right")
        self._first = np.searchsorted(-of_positives, -of_positives, side="left")

    def __call__(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the two areas (R,), ROC first, under `weights` (R, N)."""
        ordered = weights[:, self._order]
        hits = ordered[:, self._where]
        everything = _running_sum(ordered)
        positives = _running_sum(hits)
        above = everything[:, self._end]
        true_above = positives[:, self._last]
        false_above = above - true_above
        false_before = everything[:, self._start] - positives[:, self._first]
        num_true = positives[:, -1]
        num_false = everything[:, -1] - num_true
        beaten = num_false[:, None] - (false_above + false_before) / 2
        precision = np.divide(true_above, above, out=np.zeros_like(above), where=above > 0)
        roc = ratio((hits * beaten).sum(axis=1), num_true * num_false)
        pr = ratio((hits * precision).sum(axis=1), num_true)
        return roc, pr


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide; NaN where there is nothing to divide by."""
    return np.divide(
        above, below, out=np.full(np.shape(above), np.nan), where=np.asarray(below) != 0
    )


def _running_sum(values: np.ndarray) -> np.ndarray:
    """Return sums (R, N + 1) of the first 0, 1, ..., N columns of `values` (R, N)."""
    sums = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums
