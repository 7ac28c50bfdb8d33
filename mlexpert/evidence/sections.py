"""What the sections that every report has say, as plain values for its template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from mlexpert.data.examples import SEQUENCES
from mlexpert.evidence import plots
from mlexpert.evidence.metric_table import METRICS, in_words
from mlexpert.evidence.record import RunRecord

CURVE_NAMES = {name: about.title for name, about in METRICS.items()} | {
    "calibrated_log_loss": "Calibrated log loss",
    "robust_error": "Error under attack (PGD)",
    "robust_log_loss": "Log loss under attack (PGD)",
    "squared_error": "Squared error of standardised targets",
}
"""Names of what is measured after each epoch, too."""
_LOSS_CURVES = {
    "train": ("train", "loss", "train"),
    "validation": ("validation", "log_loss", "validation"),
    "calibrated": ("validation", "calibrated_log_loss", "validation-"),
}
_SEQUENCE_LOSS = {
    "train": ("train", "loss", "train"),
    "validation": ("validation", "loss", "validation"),
}
_CURVES = {
    "classification": {
        "log loss": _LOSS_CURVES | {"attacked": ("validation", "robust_log_loss", "few")},
        "balanced accuracy": {
            "decision rule": ("validation", "balanced_accuracy", "validation"),
            "plain argmax": ("validation", "argmax_balanced_accuracy", "validation-"),
        },
        "error under attack": {"attacked": ("validation", "robust_error", "few")},
    },
    "multilabel": {
        "log loss": _LOSS_CURVES,
        "F1": {
            "micro": ("validation", "micro_f1", "validation"),
            "macro": ("validation", "macro_f1", "validation-"),
        },
    },
    "regression": {
        "squared error, standardised": {
            "train": ("train", "loss", "train"),
            "validation": ("validation", "squared_error", "validation"),
        },
        "R²": {"validation": ("validation", "r2", "validation")},
    },
    "tokens": {"loss": _SEQUENCE_LOSS},
    "tags": {
        "loss": _SEQUENCE_LOSS,
        "share or F1": {
            "tags right": ("validation", "tag_accuracy", "validation"),
            "entity F1": ("validation", "entity_f1", "validation-"),
        },
    },
    "transduction": {
        "loss": _SEQUENCE_LOSS,
        "sequences right": {"validation": ("validation", "sequence_accuracy", "validation")},
    },
    "forecast": {
        "loss": _SEQUENCE_LOSS,
        "squared error, standardised": {
            "validation": ("validation", "forecast_mse", "validation"),
        },
    },
}
"""Figures by objective: what each is of, and its lines as label to split, metric and colour."""


def learning(record: RunRecord) -> dict[str, Any]:
    """Return the learning curves, and the selected beside the last epoch.

    Where the last epoch is kept, validation selects none; at the most it says when to stop. "began"
    has the first epoch of each stage, where there are several.
    """
    best, last = record.run.get("best"), record.run.get("last")
    config = record.run.get("config") or {}
    keeps_last = config.get("keep") == "last"
    selected = float(best["epoch"]) if best and "epoch" in best and not record.folds else None
    if keeps_last:
        selected = None
    figures = []
    for name, lines in _CURVES[record.objective].items():
        curves = {label: record.curve(split, metric) for label, (split, metric, _) in lines.items()}
        colors = {label: color for label, (_, _, color) in lines.items()}
        if record.folds:
            metric = next(metric for split, metric, _ in lines.values() if split == "validation")
            curves = {
                f"fold {one.path.name}": one.curve("validation", metric) for one in record.folds
            }
            colors = dict.fromkeys(curves, "validation")
        curves = {label: curve for label, curve in curves.items() if len(curve[0])}
        if curves:
            figure = plots.learning_curve(curves, colors, selected=selected, name=name)
            figures.append(Markup(figure))
    compared = []
    if best and last and not record.folds:
        compared = [
            {
                "name": CURVE_NAMES.get(name, name),
                "selected": _of_epoch(record, name, value),
                "last": _of_epoch(record, name, last.get(name)),
            }
            for name, value in best.items()
            if name not in ("epoch", "metric", "value")
        ]
    began = {row["task"]: row["epoch"] for row in reversed(record.history) if "task" in row}
    return {
        "figures": figures,
        "began": [began[task] for task in sorted(began)],
        "best": best,
        "last": last,
        "compared": compared,
        "keeps_last": keeps_last,
        "attacked": len(record.curve("validation", "robust_log_loss")[0]) > 0,
        "ended": record.run.get("ended"),
        "chooses_epoch": not keeps_last or bool(config.get("patience")),
    }


def data(record: RunRecord) -> dict[str, Any]:
    """Return where the data came from, how it was split, and how many rows each class has."""
    facts = record.run.get("data") or {}
    counts: dict[str, np.ndarray] = {}
    names: list[str] = []
    sentence = ""
    if len(record.train_counts):
        order = np.argsort(-record.train_counts, kind="stable")
        names = [record.class_names[k] for k in order]
        counts = {split: rows[order] for split, rows in _class_counts(record, facts).items()}
        most, least = record.train_counts.max(), record.train_counts.min()
        sentence = (
            f"{names[0]} has {most / max(least, 1):.1f} times the training rows of {names[-1]}."
        )
    elif values := record.run["schema"].get("values"):
        words = {key: in_words("rmse", values[key]) for key in ("low", "high", "mean", "std")}
        sentence = (
            f"The targets of the training rows lie between {words['low']} and {words['high']}, "
            f"with mean {words['mean']} and standard deviation {words['std']}."
        )
    return {
        "facts": facts,
        "parts": facts.get("parts") or {},
        "has_test": record.has_test,
        "counts": Markup(plots.class_counts(counts, names)) if counts else None,
        "counted": list(counts),
        "sentence": sentence,
        "weights": _weights(facts),
    }


_MAIN = {
    "classification": "balanced_accuracy",
    "multilabel": "micro_f1",
    "regression": "rmse",
    "tokens": "loss",
    "tags": "tag_accuracy",
    "transduction": "sequence_accuracy",
    "forecast": "forecast_mse",
}
"""What an opening of the test split is summed up by."""


def openings(record: RunRecord) -> dict[str, Any]:
    """Return the openings of the test split, by this run and by others."""
    own = {one.get("number") for one in record.openings}
    entries = [{"entry": entry, "own": entry.number in own} for entry in record.ledger]
    name = _MAIN[record.objective]
    results = [
        {
            "number": one.get("number"),
            "time": one.get("time"),
            "reason": one.get("reason"),
            "value": in_words(name, (one.get("metrics") or {}).get(name)),
        }
        for one in record.openings
    ]
    return {
        "entries": entries,
        "problem": record.ledger_problem,
        "results": results,
        "metric": METRICS[name].title,
    }


def _of_epoch(record: RunRecord, name: str, value: float | None) -> str:
    """Return a score in words; an RMSE, which the history has standardised, in the user's unit."""
    if value is None or name not in METRICS or not METRICS[name].in_unit:
        return in_words(name, value)
    return in_words(name, value * ((record.run["schema"].get("values") or {}).get("std") or np.nan))


def _class_counts(record: RunRecord, facts: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return rows (K,) of each class, or that have each label, by split.

    Rows that a model learned later may have been counted by their own classes, fewer than it has.
    """
    counts = {
        split: np.asarray(part["class_counts"])
        for split, part in (facts.get("parts") or {}).items()
        if len(part.get("class_counts") or ()) == len(record.train_counts)
    }
    if record.test and record.objective not in SEQUENCES:
        targets = record.test.predictions.targets
        counts["test"] = (
            targets.sum(axis=0)
            if record.objective == "multilabel"
            else np.bincount(targets, minlength=len(record.train_counts))
        )
    return counts


def _weights(facts: Mapping[str, Any]) -> str:
    """Return how the rows' weights were used; empty where they had none."""
    column, weights = (facts.get("roles") or {}).get("sample_weight"), facts.get("weights")
    if not weights and not column:
        return ""
    spread = f", from {weights['low']:.3g} to {weights['high']:.3g}," if weights else ""
    return (
        f"Rows count by {f'the weights in {column}' if column else 'their weights'}{spread} in "
        "training and in what was chosen on validation. The numbers of this report count every row "
        "once."
    )
