"""The one table of metrics: how each is called, which way is better, and in what unit it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class About:
    """What a reader should know of a metric.

    Attributes:
        title: Its name in the report.
        better: Which way is better; "zero" for what may err to either side, None for what says
            nothing of the model and cannot be asked for.
        in_unit: Whether it is in the unit of what is predicted, rather than a pure number.
    """

    title: str
    better: Literal["higher", "lower", "zero"] | None
    in_unit: bool = False


METRICS = {
    "balanced_accuracy": About("Balanced accuracy", "higher"),
    "accuracy": About("Accuracy", "higher"),
    "robust_accuracy": About("Robust accuracy", "higher"),
    "top5_accuracy": About("Top-5 accuracy", "higher"),
    "expected_cost": About("Mean cost of a decision", "lower"),
    "macro_f1": About("Macro F1", "higher"),
    "micro_f1": About("Micro F1", "higher"),
    "samples_f1": About("F1 by row", "higher"),
    "mean_average_precision": About("Mean average precision", "higher"),
    "subset_accuracy": About("Rows with exactly the right labels", "higher"),
    "hamming_loss": About("Hamming loss", "lower"),
    "worst_class_recall": About("Worst class recall", "higher"),
    "pr_auc": About("PR-AUC", "higher"),
    "roc_auc": About("ROC-AUC", "higher"),
    "ece": About("Calibration error (ECE)", "lower"),
    "uncalibrated_ece": About("Calibration error (ECE) before calibration", "lower"),
    "log_loss": About("Log loss", "lower"),
    "brier": About("Brier score", "lower"),
    "g_mean": About("G-mean", "higher"),
    "mcc": About("Matthews correlation", "higher"),
    "many_shot": About("Many-shot recall", "higher"),
    "medium_shot": About("Medium-shot recall", "higher"),
    "few_shot": About("Few-shot recall", "higher"),
    "argmax_balanced_accuracy": About("Balanced accuracy, plain argmax", "higher"),
    "argmax_accuracy": About("Accuracy, plain argmax", "higher"),
    "argmax_macro_f1": About("Macro F1, plain argmax", "higher"),
    "rmse": About("Root mean squared error", "lower", in_unit=True),
    "mae": About("Mean absolute error", "lower", in_unit=True),
    "median_absolute_error": About("Median absolute error", "lower", in_unit=True),
    "r2": About("R²", "higher"),
    "mean_error": About("Mean error (bias)", "zero", in_unit=True),
    "rmse_of_mean": About("RMSE of predicting the mean", None, in_unit=True),
    "loss": About("Loss", "lower"),
    "bits_per_byte": About("Bits per byte", "lower"),
    "perplexity": About("Perplexity", "lower"),
    "tag_accuracy": About("Tags that are right", "higher"),
    "entity_f1": About("F1 of entities", "higher"),
    "entity_precision": About("Precision of entities", "higher"),
    "entity_recall": About("Recall of entities", "higher"),
    "sequence_accuracy": About("Sequences that are right as a whole", "higher"),
    "token_error_rate": About("Token error rate", "lower"),
    "forecast_mse": About("Mean squared error, standardised", "lower"),
    "forecast_mae": About("Mean absolute error, standardised", "lower"),
    "quantile_loss": About("Quantile loss, standardised", "lower"),
    "coverage": About("Coverage of the widest interval", None),
    "mase": About("Error beside the seasonal naive forecast's (MASE)", "lower"),
}
"""In the report's order."""
_OTHER_BOUNDS = {
    "log_loss": (0.0, np.inf),
    "brier": (0.0, 2.0),
    "mcc": (-1.0, 1.0),
    "expected_cost": (0.0, np.inf),
    "r2": (-np.inf, 1.0),
    "loss": (0.0, np.inf),
    "bits_per_byte": (0.0, np.inf),
    "perplexity": (1.0, np.inf),
    "token_error_rate": (0.0, np.inf),
    "forecast_mse": (0.0, np.inf),
    "forecast_mae": (0.0, np.inf),
    "quantile_loss": (0.0, np.inf),
    "mase": (0.0, np.inf),
}
"""Of metrics that are neither shares nor in the unit of what is predicted."""


def bounds(name: str) -> tuple[float, float]:
    """Return between which numbers a metric lies; infinite ends where it has none."""
    about = METRICS.get(name)
    if about is None or about.better not in ("higher", "lower"):
        return -np.inf, np.inf
    if name in _OTHER_BOUNDS:
        return _OTHER_BOUNDS[name]
    return (0.0, np.inf) if about.in_unit else (0.0, 1.0)


def is_met(name: str, value: float, bound: float) -> bool:
    """Return whether a metric is as good as `bound` or better.

    `bound` is the smallest acceptable value where higher is better, the largest where lower is,
    and the largest distance from 0 where a metric may err to either side.
    """
    better = METRICS[name].better
    return bool(value >= bound if better == "higher" else _size(name, value) <= bound)


def requirement(name: str, bound: float) -> str:
    """Return in words what `is_met` asks for."""
    about = METRICS[name]
    number = f"{bound:,.10g}"
    if about.better == "zero":
        return f"at most {number} away from 0"
    return f"at {'least' if about.better == 'higher' else 'most'} {number}"


def in_words(name: str, value: float | None) -> str:
    """Return a metric's value with as many digits as mean something, or a dash for NaN."""
    if value is None or np.isnan(value):
        return "\N{EN DASH}"
    return quantity(value) if name in METRICS and METRICS[name].in_unit else f"{value:.3f}"


def quantity(value: float) -> str:
    """Return a number of any size with four digits or more, and commas between the thousands."""
    if abs(value) >= 1e9 or 0 < abs(value) < 1e-4:
        return f"{value:.3e}"
    return f"{value:,.0f}" if abs(value) >= 999.95 else f"{value:#.4g}"


def _size(name: str, value: float) -> float:
    return abs(value) if METRICS[name].better == "zero" else value
