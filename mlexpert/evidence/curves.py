"""Points of the precision-recall, the ROC and the calibration curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mlexpert.evidence.metrics import NUM_BINS, bin_of
from mlexpert.evidence.predictions import Predictions, calibration_pairs, check_counts


@dataclass(frozen=True)
class PrecisionRecall:
    """A precision-recall curve, from the highest threshold to the lowest.

    Attributes:
        precision: (P,) at each distinct threshold.
        recall: (P,), non-decreasing.
        thresholds: (P,) scores at which an example counts as positive.
        prevalence: Share of positives: the precision of guessing.
    """

    precision: np.ndarray
    recall: np.ndarray
    thresholds: np.ndarray
    prevalence: float


@dataclass(frozen=True)
class Roc:
    """A ROC curve, from the highest threshold to the lowest, corner to corner.

    Attributes:
        false_positive_rate: (P,), non-decreasing from 0 to 1.
        recall: (P,), non-decreasing from 0 to 1.
    """

    false_positive_rate: np.ndarray
    recall: np.ndarray


@dataclass(frozen=True)
class Reliability:
    """How often a probability comes true, by equal-width bins of that probability.

    Attributes:
        edges: (B + 1,) of the bins.
        counts: (B,) examples in each bin.
        predicted: (B,) mean probability in each bin; NaN where it is empty.
        observed: (B,) share that came true; NaN where the bin is empty.
        ece: Expected calibration error: the gap of the two, weighted by the counts.
    """

    edges: np.ndarray
    counts: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray
    ece: float


def precision_recall(scores: np.ndarray, positive: np.ndarray) -> PrecisionRecall:
    """Return the curve of `scores` (N,) for `positive` (N,) booleans; empty without positives."""
    order = np.argsort(-scores, kind="stable")
    scores, positive = scores[order], positive[order]
    # Only the last of several equal scores is a threshold.
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    hits = np.cumsum(positive)[ends]
    num_positive = int(positive.sum())
    if num_positive == 0:
        ends = hits = np.empty(0, dtype=np.int64)
    recall = hits / max(num_positive, 1)
    return PrecisionRecall(hits / (ends + 1), recall, scores[ends], num_positive / len(scores))


def roc(scores: np.ndarray, positive: np.ndarray) -> Roc:
    """Return the curve of `scores` (N,) for `positive` (N,), of which some hold and some do not."""
    order = np.argsort(-scores, kind="stable")
    scores, positive = scores[order], positive[order]
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    hits = np.append(0, np.cumsum(positive)[ends])
    alarms = np.append(0, ends + 1) - hits
    return Roc(alarms / alarms[-1], hits / hits[-1])


def reliability(
    probabilities: np.ndarray, targets: np.ndarray, *, train_counts: ArrayLike
) -> Reliability:
    """Return the calibration curve of `probabilities` (N, K) for `targets` (N,).

    With two classes it is that of the positive (in training the rarer) class's probability, with
    more that of the largest probability.

    Raises:
        InputError: If shapes disagree or a row of `probabilities` is no distribution.
    """
    predictions = Predictions(probabilities, targets, targets)
    counts = check_counts(train_counts, predictions.num_classes)
    return reliability_of(*calibration_pairs(predictions, counts))


def reliability_of(confidence: np.ndarray, came_true: np.ndarray) -> Reliability:
    """Return the calibration curve of probabilities (N,) that came true, 1.0, or not, 0.0 (N,)."""
    bins = bin_of(confidence)
    sizes = np.bincount(bins, minlength=NUM_BINS)
    filled = sizes > 0
    sums = [np.bincount(bins, values, minlength=NUM_BINS) for values in (confidence, came_true)]
    predicted, observed = (
        np.divide(total, sizes, out=np.full(NUM_BINS, np.nan), where=filled) for total in sums
    )
    ece = float(np.abs(sums[0] - sums[1]).sum() / len(confidence))
    return Reliability(np.linspace(0, 1, NUM_BINS + 1), sizes, predicted, observed, ece)
