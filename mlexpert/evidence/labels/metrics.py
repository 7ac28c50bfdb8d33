"""Metrics of a model that gives each example any of K labels.

As those of a classifier, every metric is a function of a row of example weights; an undefined one
is NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mlexpert.evidence.metrics import SMALLEST, mean_defined
from mlexpert.evidence.predictions import LabelPredictions, check_counts
from mlexpert.evidence.ranking import Ranking, ratio


class WeightedLabelMetrics:
    """Metrics of fixed predictions under many rows of example weights; scores are sorted once."""

    def __init__(self, predictions: LabelPredictions) -> None:
        """Sort the scores and compute every per-example term, for N examples and K labels."""
        targets, decisions = predictions.targets, predictions.decisions
        hits = targets & decisions
        self._counts = [flags.astype(np.float64) for flags in (hits, targets, decisions)]
        right, named = hits.sum(axis=1), targets.sum(axis=1) + decisions.sum(axis=1)
        # A row without labels that is given none is decided as well as can be.
        f1 = np.divide(2 * right, named, out=np.ones(len(targets)), where=named > 0)
        self._means = {
            "samples_f1": f1,
            "hamming_loss": (targets != decisions).mean(axis=1),
            "subset_accuracy": (targets == decisions).all(axis=1).astype(np.float64),
            "log_loss": label_log_loss(predictions.probabilities, targets).mean(axis=1),
            "brier": ((predictions.probabilities - targets) ** 2).mean(axis=1),
        }
        self._rankings = [
            Ranking(predictions.probabilities[:, k], targets[:, k])
            for k in np.flatnonzero(targets.any(axis=0))
        ]

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return each metric (R,) under `weights` (R, N), non-negative numbers.

        `micro_f1` pools all pairs of row and label. `macro_f1` and `mean_average_precision` are
        means over labels; those that are neither right nor given anywhere, and for the latter those
        that are right nowhere, are left out. `samples_f1` is the mean over rows. `log_loss` (nats)
        and `brier` are means over rows and labels.
        """
        total = weights.sum(axis=1)
        hits, true, given = (weights @ flags for flags in self._counts)
        values = {
            "micro_f1": ratio(2 * hits.sum(axis=1), (true + given).sum(axis=1)),
            "macro_f1": mean_defined(ratio(2 * hits, true + given)),
        }
        areas = [ranking(weights)[1] for ranking in self._rankings]
        values["mean_average_precision"] = (
            mean_defined(np.stack(areas, axis=1)) if areas else np.full(len(weights), np.nan)
        )
        return values | {name: weights @ term / total for name, term in self._means.items()}


def label_log_loss(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the binary cross-entropy (N, K), in nats, of each label of each example."""
    came_true = np.where(targets, probabilities, 1 - probabilities)
    return -np.log(np.clip(came_true, SMALLEST, 1.0))


def per_label_table(
    predictions: LabelPredictions, train_counts: ArrayLike, names: Sequence[str]
) -> list[dict[str, str | int | float]]:
    """Return one row per label, in the model's order.

    Args:
        predictions: Of N examples over K labels.
        train_counts: (K,) training rows that have each label.
        names: (K,) display name of each label.

    Returns:
        Dictionaries with `name`, `train_count`, `support` (examples that have the label), `given`
        (examples that it was given to), `precision`, `recall`, `f1` and `average_precision`; NaN
        where undefined.

    Raises:
        InputError: If `train_counts` does not have one entry per label.
    """
    counts = check_counts(train_counts, predictions.num_classes)
    targets, decisions = predictions.targets, predictions.decisions
    support, given = targets.sum(axis=0), decisions.sum(axis=0)
    hits = (targets & decisions).sum(axis=0)
    precision, recall, f1 = (
        ratio(hits, given),
        ratio(hits, support),
        ratio(2 * hits, support + given),
    )
    ones = np.ones((1, len(predictions)))
    return [
        {
            "name": str(name),
            "train_count": int(counts[k]),
            "support": int(support[k]),
            "given": int(given[k]),
            "precision": float(precision[k]),
            "recall": float(recall[k]),
            "f1": float(f1[k]),
            "average_precision": float(
                Ranking(predictions.probabilities[:, k], targets[:, k])(ones)[1][0]
            ),
        }
        for k, name in enumerate(names)
    ]


def label_confusions(predictions: LabelPredictions) -> np.ndarray:
    """Return (K, K) counts of examples that missed one label and were wrongly given another.

    The missed label is in the rows, the one given in the columns.
    """
    missed = predictions.targets & ~predictions.decisions
    wrong = predictions.decisions & ~predictions.targets
    return np.rint(missed.astype(np.float64).T @ wrong.astype(np.float64)).astype(np.int64)
