"""What the report says of a model that gives labels: each label, mix-ups, and probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from mlexpert.evidence import plots
from mlexpert.evidence.curves import precision_recall, reliability_of
from mlexpert.evidence.labels.metrics import label_confusions, per_label_table
from mlexpert.evidence.predictions import LabelPredictions
from mlexpert.evidence.record import PartRecord, RunRecord

MOST_PAIRS = 15
"""Pairs of labels that are named as the most confused ones."""


def labels(record: RunRecord, shown: PartRecord[LabelPredictions]) -> dict[str, Any]:
    """Return the table of labels, most frequent first, and the pairs that are mixed up."""
    predictions, names = shown.predictions, record.class_names
    table = per_label_table(predictions, record.train_counts, names)
    thresholds = (record.run.get("decision") or {}).get("thresholds")
    for k, row in enumerate(table):
        row["threshold"] = float(thresholds[k]) if thresholds else np.nan
    return {
        "table": sorted(table, key=lambda row: (-int(row["support"]), str(row["name"]))),
        "largest": max(int(row["support"]) for row in table),
        "thresholds": bool(thresholds),
        "pairs": _pairs(record, predictions),
        "missed": int((predictions.targets & ~predictions.decisions).sum()),
        "wrong": int((predictions.decisions & ~predictions.targets).sum()),
        "right": int((predictions.targets & predictions.decisions).sum()),
        "rule": (record.run.get("decision") or {}).get("rule", ""),
    }


def label_probabilities(record: RunRecord, shown: PartRecord[LabelPredictions]) -> dict[str, Any]:
    """Return the precision-recall curve of every label, and calibration before and after."""
    predictions = shown.predictions
    occurring = np.flatnonzero(predictions.targets.any(axis=0))
    curves = [
        (precision_recall(predictions.probabilities[:, k], predictions.targets[:, k]), shown.name)
        for k in occurring
    ]
    ranking = plots.precision_recall_curves(
        curves, (), prevalence=None, title="precision-recall curve of each label"
    )
    truth = predictions.targets.ravel().astype(np.float64)
    after = reliability_of(predictions.probabilities.ravel(), truth)
    before = (
        None if shown.uncalibrated is None else reliability_of(shown.uncalibrated.ravel(), truth)
    )
    calibration = plots.calibration(before, after, color=shown.name, title="calibration curve")
    return {
        "ranking": Markup(ranking) if curves else None,
        "calibration": Markup(calibration),
        "after": after.ece,
        "before": before.ece if before else np.nan,
    }


def _pairs(record: RunRecord, predictions: LabelPredictions) -> list[dict[str, Any]]:
    """Return pairs of a missed label and one that was wrongly given to the same rows."""
    names, support = record.class_names, predictions.targets.sum(axis=0)
    counts = label_confusions(predictions)
    cells = np.argsort(-counts, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = [np.unravel_index(cell, counts.shape) for cell in cells if counts.flat[cell]]
    return [
        {
            "missed": names[missed],
            "given": names[given],
            "count": int(counts[missed, given]),
            "share": counts[missed, given] / support[missed],
        }
        for missed, given in pairs
    ]
