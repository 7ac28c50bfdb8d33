"""What each section of the report says, as plain values for its template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from mlexpert.evidence import plots
from mlexpert.evidence.criteria import class_shift
from mlexpert.evidence.curves import precision_recall, reliability
from mlexpert.evidence.metrics import HIGHER_IS_BETTER, confusion_matrix, per_class_table
from mlexpert.evidence.predictions import positive_class
from mlexpert.evidence.record import PartRecord, RunRecord

LARGEST_TABLE = 20
"""Classes up to which a confusion matrix is a table with its counts."""
METRIC_NAMES = {
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "worst_class_recall": "Worst class recall",
    "pr_auc": "PR-AUC",
    "roc_auc": "ROC-AUC",
    "ece": "Calibration error (ECE)",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "g_mean": "G-mean",
    "mcc": "Matthews correlation",
    "many_shot": "Many-shot recall",
    "medium_shot": "Medium-shot recall",
    "few_shot": "Few-shot recall",
    "argmax_balanced_accuracy": "Balanced accuracy, plain argmax",
    "argmax_accuracy": "Accuracy, plain argmax",
    "argmax_macro_f1": "Macro F1, plain argmax",
}
CURVE_NAMES = METRIC_NAMES | {"calibrated_log_loss": "Calibrated log loss"}
"""Names of what is measured after each epoch, too."""
_CARDS = ("balanced_accuracy", "macro_f1", "worst_class_recall", "accuracy", "pr_auc", "ece")


def summary(record: RunRecord) -> dict[str, Any]:
    """Return the headline sentence, the cards and the table of all metrics."""
    shown = record.shown
    sentence = _headline(record, shown) if shown else ""
    cards = [_card(name, record) for name in _CARDS]
    test = record.test.metrics if record.test else _last_opening(record)
    bounds = record.test.intervals if record.test else {}
    notes = record.test.notes if record.test else {}
    rows = [
        {
            "name": METRIC_NAMES[name],
            "better": "higher" if HIGHER_IS_BETTER[name] else "lower",
            "validation": record.validation.metrics[name] if record.validation else np.nan,
            "test": test.get(name, np.nan),
            "interval": bounds.get(name),
            "interval_note": notes.get(name, ""),
        }
        for name in METRIC_NAMES
    ]
    return {"sentence": sentence, "cards": cards, "rows": rows, "opened": bool(record.openings)}


def learning(record: RunRecord) -> dict[str, Any]:
    """Return the learning curves, and the selected beside the last epoch."""
    best, last = record.run.get("best"), record.run.get("last")
    selected = float(best["epoch"]) if best else None
    losses = {
        label: curve
        for label, curve in (
            ("train", record.curve("train", "loss")),
            ("validation", record.curve("validation", "log_loss")),
            ("calibrated", record.curve("validation", "calibrated_log_loss")),
        )
        if len(curve[0])
    }
    scores = {
        label: curve
        for label, curve in (
            ("decision rule", record.curve("validation", "balanced_accuracy")),
            ("plain argmax", record.curve("validation", "argmax_balanced_accuracy")),
        )
        if len(curve[0])
    }
    figures = []
    if losses:
        colors = {"train": "train", "validation": "validation", "calibrated": "validation-"}
        figure = plots.learning_curve(losses, colors, selected=selected, name="log loss")
        figures.append(Markup(figure))
    if scores:
        colors = {"decision rule": "validation", "plain argmax": "validation-"}
        figure = plots.learning_curve(scores, colors, selected=selected, name="balanced accuracy")
        figures.append(Markup(figure))
    compared = []
    if best and last:
        compared = [
            {"name": CURVE_NAMES.get(name, name), "selected": value, "last": last.get(name)}
            for name, value in best.items()
            if name not in ("epoch", "metric", "value")
        ]
    return {"figures": figures, "best": best, "last": last, "compared": compared}


def classes(record: RunRecord, shown: PartRecord) -> dict[str, Any]:
    """Return the confusion matrix, the largest confusions and the table of classes."""
    predictions, names, counts = shown.predictions, record.class_names, record.train_counts
    matrix = confusion_matrix(predictions.decisions, predictions.targets, len(names))
    support = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, support, out=np.full(matrix.shape, np.nan), where=support > 0)
    table = per_class_table(
        predictions.probabilities, predictions.decisions, predictions.targets, counts, names
    )
    wrong = np.where(np.eye(len(names), dtype=bool), 0, matrix)
    largest = [np.unravel_index(cell, wrong.shape) for cell in np.argsort(-wrong, axis=None)[:5]]
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
        "largest": [
            {
                "true": names[true],
                "decided": names[decided],
                "count": wrong[true, decided],
                "share": shares[true, decided],
            }
            for true, decided in largest
            if wrong[true, decided]
        ],
        "table": sorted(table, key=lambda row: -int(row["train_count"])),
        "groups": [
            {"shot": shot, "size": sum(row["shot"] == shot for row in table), "recall": value}
            for shot, value in ((s, shown.metrics[f"{s}_shot"]) for s in ("many", "medium", "few"))
        ],
    }


def ranking(record: RunRecord, shown: PartRecord) -> dict[str, Any]:
    """Return the precision-recall curves: of the rare class, or of every class by its group."""
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
        figure = plots.precision_recall_curves(
            curves, (), prevalence=None, title="precision-recall curve of each class"
        )
        return {"figure": Markup(figure), "positive": None}
    positive = positive_class(counts)
    truth = targets == positive
    curve = precision_recall(probabilities[:, positive], truth)
    points = [
        (label, _share(chosen & truth, truth), _share(chosen & truth, chosen))
        for label, chosen in (
            ("decision rule", predictions.decisions == positive),
            ("plain argmax", probabilities.argmax(axis=1) == positive),
        )
        if truth.any() and chosen.any()
    ]
    figure = plots.precision_recall_curves(
        [(curve, shown.name)],
        points,
        prevalence=curve.prevalence,
        title="precision-recall curve of the rarer class",
    )
    return {"figure": Markup(figure), "positive": record.class_names[positive]}


def calibration(record: RunRecord, shown: PartRecord) -> dict[str, Any]:
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


def decision(record: RunRecord, shown: PartRecord) -> dict[str, Any]:
    """Return the decision rule, and on how many rows it departs from the most probable class."""
    chosen = record.run.get("decision") or {}
    argmax = shown.predictions.probabilities.argmax(axis=1)
    changed = int((argmax != shown.predictions.decisions).sum())
    return {"changed": changed, "rows": len(shown.predictions), **chosen}


def data(record: RunRecord) -> dict[str, Any]:
    """Return where the data came from, how it was split, and how many rows each class has."""
    facts = record.run.get("data") or {}
    order = np.argsort(-record.train_counts, kind="stable")
    counts = {
        split: np.asarray(part["class_counts"])[order]
        for split, part in (facts.get("parts") or {}).items()
        if part.get("class_counts")
    }
    if record.test:
        targets = record.test.predictions.targets
        counts["test"] = np.bincount(targets, minlength=len(order))[order]
    names = [record.class_names[k] for k in order]
    train = record.train_counts
    return {
        "facts": facts,
        "parts": facts.get("parts") or {},
        "has_test": record.has_test,
        "counts": Markup(plots.class_counts(counts, names)) if counts else None,
        "counted": list(counts),
        "imbalance": float(train.max() / max(train.min(), 1)),
        "most": record.class_names[int(train.argmax())],
        "least": record.class_names[int(train.argmin())],
    }


def openings(record: RunRecord) -> dict[str, Any]:
    """Return the openings of the test split, by this run and by others."""
    own = {one.get("number") for one in record.openings}
    entries = [{"entry": entry, "own": entry.number in own} for entry in record.ledger]
    results = [
        {
            "number": one.get("number"),
            "time": one.get("time"),
            "reason": one.get("reason"),
            "balanced_accuracy": (one.get("metrics") or {}).get("balanced_accuracy"),
        }
        for one in record.openings
    ]
    return {"entries": entries, "problem": record.ledger_problem, "results": results}


def _last_opening(record: RunRecord) -> Mapping[str, float]:
    found = record.openings[-1].get("metrics") or {} if record.openings else {}
    return {name: np.nan if value is None else value for name, value in found.items()}


def _headline(record: RunRecord, shown: PartRecord) -> str:
    metrics = shown.metrics
    value, plain = metrics["balanced_accuracy"], metrics["argmax_balanced_accuracy"]
    low, high = shown.intervals.get("balanced_accuracy", (np.nan, np.nan))
    interval = "" if np.isnan(low) else f" (95 % interval {low:.3f} to {high:.3f})"
    worst, recall, rows = _worst(record, shown)
    return (
        f"On {len(shown.predictions):,} {shown.name} rows the mean recall over "
        f"{shown.predictions.num_classes} classes is {value:.3f}{interval}: {value - plain:+.3f} "
        f"against the most probable class. The weakest class is {worst}: "
        f"{100 * recall:.0f} % of its {rows:,} rows are found."
    )


def _worst(record: RunRecord, shown: PartRecord) -> tuple[str, float, int]:
    targets, decisions = shown.predictions.targets, shown.predictions.decisions
    support = np.bincount(targets, minlength=shown.predictions.num_classes)
    hits = np.bincount(targets[targets == decisions], minlength=len(support))
    recall = np.divide(hits, support, out=np.full(len(support), np.inf), where=support > 0)
    worst = int(recall.argmin())
    return record.class_names[worst], float(recall[worst]), int(support[worst])


def _card(name: str, record: RunRecord) -> dict[str, Any]:
    shown = record.shown
    card: dict[str, Any] = {"name": METRIC_NAMES[name], "value": np.nan, "note": "", "part": ""}
    if shown is None:
        return card
    validation = record.validation.metrics[name] if record.validation else np.nan
    return card | {
        "value": shown.metrics[name],
        "part": shown.name,
        "interval": shown.intervals.get(name),
        "interval_note": shown.notes.get(name, ""),
        "validation": validation if shown.name == "test" else None,
        "argmax": shown.metrics.get(f"argmax_{name}"),
        "note": _note(name, record, shown),
    }


def _note(name: str, record: RunRecord, shown: PartRecord) -> str:
    """Return one plain sentence on what a headline number is, with what guessing would give."""
    targets = shown.predictions.targets
    support = np.bincount(targets, minlength=shown.predictions.num_classes)
    positive = positive_class(record.train_counts)
    binary = shown.predictions.num_classes == 2
    guess = support[positive] / len(targets) if binary else float((support / len(targets)).mean())
    return {
        "balanced_accuracy": "Mean recall over classes. Always guessing one class gives "
        f"{1 / (support > 0).sum():.3f}.",
        "macro_f1": "Mean over classes of F1, which weighs false alarms as well as misses.",
        "worst_class_recall": f"Recall of {_worst(record, shown)[0]}, the class found least often.",
        "accuracy": "Share of rows decided rightly. Always guessing the most common class gives "
        f"{support.max() / len(targets):.3f}."
        + (
            " The decision rule gives up some of it, on common classes, to find rare ones."
            if shown.metrics["argmax_accuracy"] > shown.metrics["accuracy"]
            else ""
        ),
        "pr_auc": (
            f"Average precision for {record.class_names[positive]}."
            if binary
            else "Mean average precision of each class against the rest."
        )
        + f" A random order gives {guess:.3f}.",
        "ece": "How far probabilities are from what came true; 0 is best.",
    }[name]


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum() / whole.sum())
