"""Metrics of a classifier, defined under weights for values and intervals alike.

Every metric is a function of a row of example weights. All ones give the plain value; how often an
example was drawn gives its value on a bootstrap resample, without sorting or counting anew. An
undefined metric is NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mlexpert.errors import InputError
from mlexpert.evidence.metric_table import METRICS
from mlexpert.evidence.predictions import (
    Predictions,
    calibration_pairs,
    check_counts,
    positive_class,
)
from mlexpert.evidence.ranking import Ranking, ratio

MANY_SHOT = 100
"""A class with more training rows than this is many-shot."""
FEW_SHOT = 20
"""A class with fewer training rows than this is few-shot."""
NUM_BINS = 15
"""Equal-width bins of the calibration error."""
SMALLEST = float(np.finfo(np.float32).eps)
"""Probability below which a logarithm is not taken."""
TOP = 5
"""Most probable classes among which the true one is looked for, where there are more."""


def classification_metrics(
    probabilities: np.ndarray,
    decisions: np.ndarray,
    targets: np.ndarray,
    *,
    train_counts: ArrayLike,
) -> dict[str, float]:
    """Return every metric of a classifier for one set of predictions.

    Recalls are averaged over the classes that occur in `targets`. With two classes the positive one
    is the rarer in training: `roc_auc`, `pr_auc`, `brier` (mean squared error) and `ece` are those
    of its probability. With more, `roc_auc` and `pr_auc` are macro one-vs-rest means, `brier` sums
    over classes, and `ece` is that of the largest probability. `pr_auc` is the average precision.
    `argmax_*` are the same metrics for the most probable class. `top5_accuracy`, with more than
    five classes, counts a row as right where the true class is among the five most probable.

    Args:
        probabilities: (N, K), each row a distribution over classes.
        decisions: (N,) class indices chosen by the decision rule.
        targets: (N,) true class indices.
        train_counts: (K,) training rows of each class.

    Returns:
        Metric name to value; NaN where the metric is undefined.

    Raises:
        InputError: If shapes disagree, an index is out of range, or a row of `probabilities` is no
            distribution.
    """
    predictions = Predictions(probabilities, decisions, targets)
    values = WeightedMetrics(predictions, train_counts)(np.ones((1, len(predictions))))
    return {name: float(value[0]) for name, value in values.items()}


class WeightedMetrics:
    """Metrics of fixed predictions under many rows of example weights; scores are sorted once."""

    def __init__(self, predictions: Predictions, train_counts: ArrayLike) -> None:
        """Sort the scores and compute every per-example term.

        Args:
            predictions: N examples over K classes.
            train_counts: (K,) training rows of each class.

        Raises:
            InputError: If `train_counts` does not have one count per class.
        """
        self._counts = check_counts(train_counts, predictions.num_classes)
        self._targets = predictions.targets
        self._decisions = predictions.decisions
        self._num_classes = predictions.num_classes
        probabilities, targets = predictions.probabilities, predictions.targets
        self._argmax = probabilities.argmax(axis=1)
        confidence, correct = calibration_pairs(predictions, self._counts)
        self._bins, self._gaps = bin_of(confidence), confidence - correct
        self._raw: tuple[np.ndarray, np.ndarray] | None = None
        if predictions.uncalibrated is not None:
            raw = Predictions(predictions.uncalibrated, predictions.decisions, targets)
            confidence, correct = calibration_pairs(raw, self._counts)
            self._raw = bin_of(confidence), confidence - correct
        self._log_loss = -np.log(
            np.clip(probabilities[np.arange(len(targets)), targets], SMALLEST, 1.0)
        )
        if self._num_classes == 2:
            self._brier = self._gaps**2
            ranked = [positive_class(self._counts)]
        else:
            truth = np.eye(self._num_classes)[targets]
            self._brier = ((probabilities - truth) ** 2).sum(axis=1)
            ranked = list(range(self._num_classes))
        self._rankings = [Ranking(probabilities[:, k], targets == k) for k in ranked]
        cost = predictions.cost
        self._cost = None if cost is None else cost[targets, predictions.decisions]
        self._in_top = _in_top(probabilities, targets) if self._num_classes > TOP else None

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return each metric (R,) under `weights` (R, N), non-negative numbers."""
        total = weights.sum(axis=1)
        values = self._of_decisions(self._decisions, weights)
        plain = self._of_decisions(self._argmax, weights)
        areas = [ranking(weights) for ranking in self._rankings]
        values["roc_auc"] = mean_defined(np.stack([roc for roc, _ in areas], axis=1))
        values["pr_auc"] = mean_defined(np.stack([pr for _, pr in areas], axis=1))
        values["brier"] = weights @ self._brier / total
        values["log_loss"] = weights @ self._log_loss / total
        values["ece"] = _calibration_error(self._bins, self._gaps, weights)
        if self._raw is not None:
            values["uncalibrated_ece"] = _calibration_error(*self._raw, weights)
        for name in ("accuracy", "balanced_accuracy", "macro_f1"):
            values[f"argmax_{name}"] = plain[name]
        if self._cost is not None:
            values["expected_cost"] = weights @ self._cost / total
        if self._in_top is not None:
            values["top5_accuracy"] = weights @ self._in_top / total
        return {name: values[name] for name in METRICS if name in values}

    def _of_decisions(self, decisions: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
        true = _sums(self._targets, weights, self._num_classes)
        chosen = _sums(decisions, weights, self._num_classes)
        hits = _sums(self._targets, weights * (decisions == self._targets), self._num_classes)
        recall = ratio(hits, true)
        total = weights.sum(axis=1)
        with np.errstate(
            divide="ignore"
        ):  # a recall of 0 has logarithm -inf and makes the geometric mean 0
            g_mean = np.exp(mean_defined(np.log(recall)))
        worst = np.where(np.isnan(recall), np.inf, recall).min(axis=1)
        groups = {
            name: mean_defined(recall[:, mask]) for name, mask in shot_masks(self._counts).items()
        }
        return {
            "accuracy": hits.sum(axis=1) / total,
            "balanced_accuracy": mean_defined(recall),
            "macro_f1": mean_defined(ratio(2 * hits, true + chosen)),
            "g_mean": g_mean,
            "mcc": _mcc(hits.sum(axis=1), true, chosen, total),
            "worst_class_recall": worst,
            **groups,
        }


def per_class_table(
    probabilities: np.ndarray,
    decisions: np.ndarray,
    targets: np.ndarray,
    train_counts: ArrayLike,
    names: Sequence[str],
) -> list[dict[str, str | int | float]]:
    """Return one row per class, in class order.

    Args:
        probabilities: (N, K), each row a distribution over classes.
        decisions: (N,) class indices chosen by the decision rule.
        targets: (N,) true class indices.
        train_counts: (K,) training rows of each class.
        names: (K,) display name of each class.

    Returns:
        Dictionaries with `name`, `shot` ("many", "medium" or "few"), `train_count`, `support`
        (examples of the class), `decided` (examples decided to be of it), `precision`, `recall`,
        `f1` and `pr_auc` (one-vs-rest); NaN where undefined.

    Raises:
        InputError: If shapes disagree, or `train_counts` or `names` do not have one entry per
            class.
    """
    predictions = Predictions(probabilities, decisions, targets)
    num_classes = predictions.num_classes
    counts = check_counts(train_counts, num_classes)
    if len(names) != num_classes:
        raise InputError(
            f"{len(names)} class names for {num_classes} classes; pass one name per class."
        )
    support = np.bincount(predictions.targets, minlength=num_classes)
    decided = np.bincount(predictions.decisions, minlength=num_classes)
    right = predictions.targets[predictions.targets == predictions.decisions]
    hits = np.bincount(right, minlength=num_classes)
    precision, recall, f1 = (
        ratio(hits, decided),
        ratio(hits, support),
        ratio(2 * hits, support + decided),
    )
    shots = {
        int(k): shot.removesuffix("_shot")
        for shot, mask in shot_masks(counts).items()
        for k in np.flatnonzero(mask)
    }
    ones = np.ones((1, len(predictions)))
    return [
        {
            "name": str(names[k]),
            "shot": shots[k],
            "train_count": int(counts[k]),
            "support": int(support[k]),
            "decided": int(decided[k]),
            "precision": float(precision[k]),
            "recall": float(recall[k]),
            "f1": float(f1[k]),
            "pr_auc": float(
                Ranking(predictions.probabilities[:, k], predictions.targets == k)(ones)[1][0]
            ),
        }
        for k in range(num_classes)
    ]


def confusion_matrix(decisions: np.ndarray, targets: np.ndarray, num_classes: int) -> np.ndarray:
    """Return counts (K, K): true class in rows, decided class in columns."""
    cells = np.asarray(targets) * num_classes + np.asarray(decisions)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def shot_masks(train_counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return which classes (K,) are many-, medium- and few-shot by their training rows."""
    many, few = train_counts > MANY_SHOT, train_counts < FEW_SHOT
    return {"many_shot": many, "medium_shot": ~many & ~few, "few_shot": few}


def bin_of(probabilities: np.ndarray) -> np.ndarray:
    """Return the equal-width bin (N,) of each probability; the last bin holds its upper edge."""
    return np.clip(
        np.searchsorted(np.linspace(0, 1, NUM_BINS + 1), probabilities, side="right") - 1,
        0,
        NUM_BINS - 1,
    )


def mean_defined(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis of `values` without its NaN; NaN where nothing is left."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))


def _calibration_error(bins: np.ndarray, gaps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the error (R,) of gaps (N,) between probability and truth, by their bins (N,)."""
    return np.abs(_sums(bins, weights * gaps, NUM_BINS)).sum(axis=1) / weights.sum(axis=1)


def _sums(labels: np.ndarray, weights: np.ndarray, num_labels: int) -> np.ndarray:
    """Sum `weights` (R, N) by label (N,) into (R, num_labels)."""
    cells = labels + num_labels * np.arange(len(weights))[:, None]
    return np.bincount(cells.ravel(), weights.ravel(), minlength=len(weights) * num_labels).reshape(
        -1, num_labels
    )


def _in_top(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return 1.0 (N,) where fewer than five classes come before the true one, else 0.0.

    Of equally probable classes the first comes first, as for the most probable one.
    """
    own = probabilities[np.arange(len(targets)), targets][:, None]
    earlier = np.arange(probabilities.shape[1]) < targets[:, None]
    before = (probabilities > own) | ((probabilities == own) & earlier)
    return (before.sum(axis=1) < TOP).astype(np.float64)


def _mcc(hits: np.ndarray, true: np.ndarray, chosen: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Matthews correlation (Gorodkin 2004); undefined where targets or decisions are constant."""
    covariance = hits * total - (true * chosen).sum(axis=1)
    spread = (total**2 - (true**2).sum(axis=1)) * (total**2 - (chosen**2).sum(axis=1))
    return ratio(covariance, np.sqrt(spread))
