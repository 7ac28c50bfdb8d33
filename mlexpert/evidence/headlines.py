"""The sentences of the summary: what was found, and what each headline number is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlexpert.data.examples import SEQUENCES
from mlexpert.evidence.metric_table import quantity
from mlexpert.evidence.predictions import (
    LabelPredictions,
    Predictions,
    ValuePredictions,
    positive_class,
)
from mlexpert.evidence.record import PartRecord, RunRecord
from mlexpert.evidence.sequences.words import sequence_headline, sequence_notes


def headline(record: RunRecord, shown: PartRecord[Any]) -> str:
    """Return what was found on a split, in a sentence or two."""
    say: dict[str, Callable[[RunRecord, PartRecord[Any]], str]] = {
        "classification": _of_classes,
        "multilabel": _of_labels,
        "regression": _of_values,
        **dict.fromkeys(SEQUENCES, sequence_headline),
    }
    return say[record.objective](record, shown)


def note(name: str, record: RunRecord, shown: PartRecord[Any]) -> str:
    """Return one plain sentence on what a headline number is, with what guessing would give."""
    notes: dict[str, Callable[[RunRecord, PartRecord[Any]], dict[str, str]]] = {
        "classification": _class_notes,
        "multilabel": _label_notes,
        "regression": _value_notes,
        **dict.fromkeys(SEQUENCES, sequence_notes),
    }
    return notes[record.objective](record, shown)[name]


def _of_classes(record: RunRecord, shown: PartRecord[Predictions]) -> str:
    metrics = shown.metrics
    value, plain = metrics["balanced_accuracy"], metrics["argmax_balanced_accuracy"]
    worst, recall, rows = _worst_class(record, shown)
    present = len(np.unique(shown.predictions.targets))  # recall is of those alone
    gain = f": {value - plain:+.3f} against the most probable class"
    return (
        f"On {len(shown.predictions):,} {shown.name} rows the mean recall over "
        f"{present} classes is {value:.3f}"
        f"{_interval(shown, 'balanced_accuracy')}{gain if shown.predictions.num_adjusted else ''}. "
        f"The weakest class is {worst}: "
        f"{100 * recall:.0f} % of its {rows:,} rows are found."
    )


def _of_labels(record: RunRecord, shown: PartRecord[LabelPredictions]) -> str:
    predictions = shown.predictions
    worst, recall, rows = _worst_label(record, shown)
    return (
        f"On {len(predictions):,} {shown.name} rows, which have "
        f"{predictions.targets.sum(axis=1).mean():.1f} of {predictions.num_classes} labels on "
        f"average, micro F1 is {shown.metrics['micro_f1']:.3f}{_interval(shown, 'micro_f1')}; "
        f"{100 * shown.metrics['subset_accuracy']:.0f} % of the rows get exactly their labels."
        + (
            f" The weakest label is {worst}: {100 * recall:.0f} % of its {rows:,} rows are found."
            if rows
            else ""
        )
    )


def _of_values(record: RunRecord, shown: PartRecord[ValuePredictions]) -> str:
    sizes = np.abs(shown.predictions.errors)
    half, most = np.quantile(sizes, [0.5, 0.9])
    saved = shown.metrics["r2"]
    sentence = (
        f"On {len(sizes):,} {shown.name} rows half of the predictions are within "
        f"{quantity(half)} of the truth, and 90 % within {quantity(most)}."
    )
    if np.isnan(saved):
        return sentence
    return (
        f"{sentence} R² is {saved:.3f}{_interval(shown, 'r2')}: the share of the targets' variance "
        "that the predictions explain."
    )


def _interval(shown: PartRecord[Any], name: str) -> str:
    low, high = shown.intervals.get(name, (np.nan, np.nan))
    return "" if np.isnan(low) else f" (95 % interval {low:.3f} to {high:.3f})"


def _worst_class(record: RunRecord, shown: PartRecord[Predictions]) -> tuple[str, float, int]:
    targets, decisions = shown.predictions.targets, shown.predictions.decisions
    support = np.bincount(targets, minlength=shown.predictions.num_classes)
    hits = np.bincount(targets[targets == decisions], minlength=len(support))
    return _least_found(record, hits, support)


def _worst_label(record: RunRecord, shown: PartRecord[LabelPredictions]) -> tuple[str, float, int]:
    targets = shown.predictions.targets
    hits = (targets & shown.predictions.decisions).sum(axis=0)
    return _least_found(record, hits, targets.sum(axis=0))


def _least_found(
    record: RunRecord, hits: np.ndarray, support: np.ndarray
) -> tuple[str, float, int]:
    """Return name, recall and rows of the class found least often, of hits and support (K,)."""
    recall = np.divide(hits, support, out=np.full(len(support), np.inf), where=support > 0)
    worst = int(recall.argmin())
    return record.class_names[worst], float(recall[worst]), int(support[worst])


def _class_notes(record: RunRecord, shown: PartRecord[Predictions]) -> dict[str, str]:
    metrics, targets = shown.metrics, shown.predictions.targets
    support = np.bincount(targets, minlength=shown.predictions.num_classes)
    positive = positive_class(record.train_counts)
    binary = shown.predictions.num_classes == 2
    guess = support[positive] / len(targets) if binary else float((support / len(targets)).mean())
    accuracy = (
        "Share of rows decided rightly. Always guessing the most common class gives "
        f"{support.max() / len(targets):.3f}."
    )
    if metrics["argmax_accuracy"] > metrics["accuracy"]:
        accuracy += " The decision rule gives up some of it, on common classes, to find rare ones."
    if "top5_accuracy" in metrics:
        accuracy += (
            f" The true class is among the five most probable for {metrics['top5_accuracy']:.3f}."
        )
    ranked = (
        f"Average precision for {record.class_names[positive]}."
        if binary
        else "Mean average precision of each class against the rest."
    )
    return {
        "balanced_accuracy": "Mean recall over classes. Always guessing one class gives "
        f"{1 / (support > 0).sum():.3f}.",
        "macro_f1": "Mean over classes of F1, which weighs false alarms as well as misses.",
        "worst_class_recall": f"Recall of {_worst_class(record, shown)[0]}, the class found least "
        "often.",
        "accuracy": accuracy,
        "pr_auc": f"{ranked} A random order gives {guess:.3f}.",
        "ece": "How far probabilities are from what came true; 0 is best.",
        "expected_cost": _cost_note(shown.predictions),
    }


def _cost_note(predictions: Predictions) -> str:
    if predictions.cost is None:
        return ""
    always = predictions.cost[predictions.targets].mean(axis=0).min()
    return (
        "Mean over rows of the cost that was given for such a decision. Always deciding for the "
        f"cheapest class costs {always:.3f}."
    )


def _label_notes(record: RunRecord, shown: PartRecord[LabelPredictions]) -> dict[str, str]:
    targets = shown.predictions.targets
    shares = targets.mean(axis=0)
    empty = (targets == (shares > 0.5)).all(axis=1).mean()
    return {
        "micro_f1": "F1 over all pairs of row and label: frequent labels count for more.",
        "macro_f1": "Mean over labels of F1: a rare label counts as much as a frequent one.",
        "mean_average_precision": "Mean over labels of the area under precision and recall. A "
        f"random order gives {shares[shares > 0].mean() if shares.any() else 0:.3f}.",
        "subset_accuracy": "Share of rows whose labels are all right. Giving every row the same "
        f"most common labels yields {empty:.3f}.",
        "hamming_loss": "Share of wrong answers over all rows and labels. Giving every row the "
        f"same most common labels yields {np.minimum(shares, 1 - shares).mean():.3f}.",
        "log_loss": "Binary cross-entropy, mean over rows and labels; 0 is best.",
    }


def _value_notes(record: RunRecord, shown: PartRecord[ValuePredictions]) -> dict[str, str]:
    metrics, predictions = shown.metrics, shown.predictions
    spread = np.abs(predictions.targets - np.median(predictions.targets))
    direction = "much" if metrics["mean_error"] > 0 else "little"
    return {
        "rmse": "Typical error that large ones weigh on most, in the unit of the target. "
        f"Predicting the mean gives {quantity(metrics['rmse_of_mean'])}.",
        "mae": "Mean distance from the truth. Predicting the median gives "
        f"{quantity(spread.mean())}.",
        "median_absolute_error": "Half of the rows are closer. Predicting the median gives "
        f"{quantity(float(np.median(spread)))}.",
        "r2": "Share of the targets' variance that is explained: 1 is best, predicting the mean "
        "gives 0.",
        "mean_error": f"Predicted less true: on average the model says too {direction}. 0 is best.",
        "rmse_of_mean": "What the root mean squared error is measured against: that of the mean of "
        "these rows, the best that one number can do.",
    }
