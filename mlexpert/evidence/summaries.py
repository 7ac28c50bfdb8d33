"""The summary at the head of the report: a sentence, six cards, and a table of all metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlexpert.evidence.continual.headlines import stream_cards, stream_sentence
from mlexpert.evidence.headlines import headline, note
from mlexpert.evidence.metric_table import METRICS, in_words
from mlexpert.evidence.record import PartRecord, RunRecord
from mlexpert.evidence.robustness.headlines import robust_cards, robust_rows, robust_sentence

_CARDS = {
    "classification": (
        "balanced_accuracy", "macro_f1", "worst_class_recall", "accuracy", "pr_auc", "ece",
    ),
    "multilabel": (
        "micro_f1", "macro_f1", "mean_average_precision", "subset_accuracy", "hamming_loss",
        "log_loss",
    ),
    "regression": ("rmse", "mae", "median_absolute_error", "r2", "mean_error", "rmse_of_mean"),
    "tokens": ("loss", "bits_per_byte", "perplexity"),
    "tags": ("tag_accuracy", "entity_f1", "entity_precision", "entity_recall"),
    "transduction": ("sequence_accuracy", "token_error_rate"),
    "forecast": ("forecast_mse", "forecast_mae", "mase", "quantile_loss", "coverage"),
}  # fmt: skip
_STREAM_CARDS = ("balanced_accuracy", "worst_class_recall", "ece")
"""After those of a stream of tasks."""
_MADE_ROOM = "pr_auc"
"""The card that the robust accuracy takes the place of."""
_UNBOUNDED = {
    "log_loss", "expected_cost", "mean_error", "rmse_of_mean", "loss", "bits_per_byte",
    "perplexity", "token_error_rate", "forecast_mse", "forecast_mae", "quantile_loss", "mase",
}  # fmt: skip
"""Metrics without two ends between which a card could show their place."""


def summary(record: RunRecord) -> dict[str, Any]:
    """Return the headline sentence, the cards and the table of all metrics."""
    shown = record.shown
    opened = record.test
    validation = record.validation.metrics if record.validation else {}
    test = opened.metrics if opened else _last_opening(record)
    present = validation.keys() | test.keys()
    rows = [
        {
            "name": about.title,
            "better": {"zero": "nearer 0", None: ""}.get(about.better, about.better),
            "validation": in_words(name, validation.get(name)),
            "test": in_words(name, test.get(name)),
            "interval": _interval(name, opened),
            "interval_note": opened.notes.get(name, "") if opened else "",
        }
        for name, about in METRICS.items()
        if name in present
    ]
    of_stream = stream_cards(record)
    sentences, cards = [stream_sentence(record)], of_stream
    if shown:
        names = _STREAM_CARDS if of_stream else _cards(record, shown)
        names = tuple(name for name in names if not (record.attacks and name == _MADE_ROOM))
        sentences = [*sentences, headline(record, shown)]
        cards = [*cards, *(_card(name, record, shown) for name in names)]
    sentences, cards = [*sentences, robust_sentence(record)], [*robust_cards(record), *cards]
    rows = [*rows, *robust_rows(record)]
    return {"sentence": " ".join(filter(None, sentences)), "cards": cards, "rows": rows}


def _cards(record: RunRecord, shown: PartRecord[Any]) -> tuple[str, ...]:
    """Return the metrics that have a card; where decisions are by cost, that comes first."""
    usual = tuple(name for name in _CARDS[record.objective] if name in shown.metrics)
    return ("expected_cost", *usual) if "expected_cost" in shown.metrics else usual


def _last_opening(record: RunRecord) -> Mapping[str, float]:
    found = record.openings[-1].get("metrics") or {} if record.openings else {}
    return {name: np.nan if value is None else value for name, value in found.items()}


def _card(name: str, record: RunRecord, shown: PartRecord[Any]) -> dict[str, Any]:
    validation = record.validation.metrics.get(name) if record.validation else None
    argmax = shown.metrics.get(f"argmax_{name}")
    compared = argmax is not None and shown.predictions.num_adjusted > 0
    return {
        "name": METRICS[name].title,
        "value": in_words(name, shown.metrics[name]),
        "track": _track(name, shown),
        "interval": _interval(name, shown),
        "interval_note": shown.notes.get(name, ""),
        "validation": in_words(name, validation) if shown.name == "test" else "",
        "argmax": in_words(name, argmax) if compared else "",
        "note": note(name, record, shown),
    }


def _interval(name: str, part: PartRecord[Any] | None) -> str:
    low, high = part.intervals.get(name, (np.nan, np.nan)) if part else (np.nan, np.nan)
    return "" if np.isnan(low) else f"{in_words(name, low)} to {in_words(name, high)}"


def _track(name: str, shown: PartRecord[Any]) -> dict[str, float | None] | None:
    """Return where on a card's track the value and its interval lie, in shares of its length.

    The track of an error ends at that of predicting the mean.
    """
    value = shown.metrics[name]
    end = shown.metrics["rmse_of_mean"] if METRICS[name].in_unit else 1.0
    if name in _UNBOUNDED or np.isnan(value) or not end > 0:
        return None
    low, high = (min(max(one / end, 0.0), 1.0) for one in shown.intervals.get(name, (0.0, 0.0)))
    return {"at": value / end, "low": low, "width": high - low}
