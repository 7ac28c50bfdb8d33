"""What the report says of a classifier: its confusions, its classes and its probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from mlexpert.evidence import plots
from mlexpert.evidence.class_guardrails import class_shift
from mlexpert.evidence.curves import precision_recall, reliability, roc
from mlexpert.evidence.example_sections import thumbnails
from mlexpert.evidence.metrics import confusion_matrix, per_class_table
from mlexpert.evidence.predictions import Predictions, positive_class
from mlexpert.evidence.record import PartRecord, RunRecord

LARGEST_TABLE = 20
"""Classes up to which a confusion matrix is a table with its counts."""
MOST_PAIRS = 15
"""Pairs of classes that are named as the most confused ones."""


def classes(record: RunRecord, shown: PartRecord[Predictions]) -> dict[str, Any]:
    """Return the confusion matrix, the largest confusions and the table of classes."""
    predictions, names, counts = shown.predictions, record.class_names, record.train_counts
    matrix = confusion_matrix(predictions.decisions, predictions.targets, len(names))
    support = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, support, out=np.full(matrix.shape, np.nan), where=support > 0)
    table = per_class_table(
        predictions.probabilities, predictions.decisions, predictions.targets, counts, names
    )
    rows = None
    if len(names) <= LARGEST_TABLE:
        cells = [
            zip(*pair, strict=True) for pair in zip(matrix, np.nan_to_num(shares), strict=True)
        ]
        rows = list(zip(names, (list(row) for row in cells), strict=True))
    return {
        "names": names,
        "matrix": rows,
        "heatmap": None if rows else Markup(plots.confusion_heatmap(shares, color=shown.name)),
        "largest": _largest(record, matrix, shares),
        "table": sorted(table, key=lambda row: -int(row["train_count"])),
        "groups": [
            {"shot": shot, "size": sum(row["shot"] == shot for row in table), "recall": value}
            for shot, value in ((s, shown.metrics[f"{s}_shot"]) for s in ("many", "medium", "few"))
        ],
    }


def _largest(record: RunRecord, matrix: np.ndarray, shares: np.ndarray) -> list[dict[str, Any]]:
    """Return the pairs of a true and another decided class with the most rows, and some of them."""
    names = record.class_names
    wrong = np.where(np.eye(len(names), dtype=bool), 0, matrix)
    cells = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = [np.unravel_index(cell, wrong.shape) for cell in cells if wrong.flat[cell]]
    return [
        {
            "true": names[true],
            "decided": names[decided],
            "count": wrong[true, decided],
            "share": shares[true, decided],
            "pictures": thumbnails(record, names[true], names[decided]),
        }
        for true, decided in pairs
    ]


def ranking(record: RunRecord, shown: PartRecord[Predictions]) -> dict[str, Any]:
    """Return the precision-recall and ROC curves: of the rare class, or of every class."""
    predictions, counts = shown.predictions, record.train_counts
    probabilities, targets = predictions.probabilities, predictions.targets
    if predictions.num_classes > 2:
        table = per_class_table(
            probabilities, predictions.decisions, targets, counts, record.class_names
        )
        curves = [
            (precision_recall(probabilities[:, k], targets == k), str(row["shot"]))
            for k, row in enumerate(table)
            if row["support"]
        ]
        rocs = [
            (roc(probabilities[:, k], targets == k), str(row["shot"]))
            for k, row in enumerate(table)
            if row["support"] not in (0, len(targets))  # a class that is all rows has no curve
        ]
        figure = plots.precision_recall_curves(
            curves, (), prevalence=None, title="precision-recall curve of each class"
        )
        drawn = plots.roc_curves(rocs, (), title="ROC curve of each class")
        return {"figure": Markup(figure), "roc": Markup(drawn), "positive": None}
    positive = positive_class(counts)
    truth = targets == positive
    curve = precision_recall(probabilities[:, positive], truth)
    rules = [("plain argmax", probabilities.argmax(axis=1) == positive)]
    if predictions.num_adjusted:
        rules.insert(0, ("decision rule", predictions.decisions == positive))
    points = [
        (label, _share(chosen & truth, truth), _share(chosen & truth, chosen))
        for label, chosen in rules
        if truth.any() and chosen.any()
    ]
    both = truth.any() and not truth.all()
    rocs = [(roc(probabilities[:, positive], truth), shown.name)] if both else []
    rates = [
        (label, _share(chosen & ~truth, ~truth), _share(chosen & truth, truth))
        for label, chosen in rules
        if both
    ]
    figure = plots.precision_recall_curves(
        [(curve, shown.name)],
        points,
        prevalence=curve.prevalence,
        title="precision-recall curve of the rarer class",
    )
    drawn = plots.roc_curves(rocs, rates, title="ROC curve of the rarer class")
    name = record.class_names[positive]
    return {"figure": Markup(figure), "roc": Markup(drawn), "positive": name}


def calibration(record: RunRecord, shown: PartRecord[Predictions]) -> dict[str, Any]:
    """Return the calibration curve before and after, with its errors."""
    predictions, counts = shown.predictions, record.train_counts
    after = reliability(predictions.probabilities, predictions.targets, train_counts=counts)
    before = (
        None
        if shown.uncalibrated is None
        else reliability(shown.uncalibrated, predictions.targets, train_counts=counts)
    )
    figure = plots.calibration(before, after, color=shown.name, title="calibration curve")
    return {
        "figure": Markup(figure),
        "after": after.ece,
        "before": before.ece if before else np.nan,
        "binary": predictions.num_classes == 2,
        "shift": class_shift(shown, counts),
    }


def decision(record: RunRecord, shown: PartRecord[Predictions]) -> dict[str, Any]:
    """Return the decision rule, and on how many rows it departs from the most probable class."""
    chosen = record.run.get("decision") or {}
    predictions = shown.predictions
    return {"changed": predictions.num_adjusted, "rows": len(predictions), **chosen}


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum() / whole.sum())
