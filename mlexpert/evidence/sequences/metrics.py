"""Metrics of sequences: ratios of sums over rows, the same however rows were batched or padded.

A model says of each row what is counted: nats and tokens, right tags and words, squared errors and
values. As the other metrics, these are functions of a row of example weights; one whose divisor is
0 is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mlexpert.data.examples import Objective
from mlexpert.errors import InputError

Sums = Mapping[str, np.ndarray]
"""Sums (R,) over rows, under R rows of weights."""


@dataclass(frozen=True)
class CountedPredictions:
    """What is counted of N rows.

    Attributes:
        objective: What was predicted.
        counts: (N,) float64 by name.

    Raises:
        InputError: If a count is missing, not finite, or of another length.
    """

    objective: Objective
    counts: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        missing = [name for name in NEEDED[self.objective] if name not in self.counts]
        if missing:
            raise InputError(f"{self.objective} needs the arrays {', '.join(missing)}.")
        counts = {
            name: np.asarray(values, dtype=np.float64)
            for name, values in self.counts.items()
            if name in _KNOWN[self.objective]
        }
        lengths = {len(values) for values in counts.values()}
        if len(lengths) != 1 or 0 in lengths or any(one.ndim != 1 for one in counts.values()):
            shapes = ", ".join(f"{name} {values.shape}" for name, values in counts.items())
            raise InputError(f"one count a row is expected, of at least one row: {shapes}.")
        for name, values in counts.items():
            if not np.isfinite(values).all():
                raise InputError(f"{name} holds {(~np.isfinite(values)).sum()} non-finite numbers.")
        object.__setattr__(self, "counts", counts)

    def __len__(self) -> int:
        return len(next(iter(self.counts.values())))

    @property
    def targets(self) -> np.ndarray:
        """What is the same (N,) for every model of the same rows: how much each row holds."""
        return self.counts[NEEDED[self.objective][-1]]


class WeightedCounts:
    """Metrics of fixed counts under many rows of example weights."""

    def __init__(self, predictions: CountedPredictions) -> None:
        self._predictions = predictions

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return each metric (R,) under `weights` (R, N), non-negative numbers."""
        counts = self._predictions.counts
        sums = {name: weights @ values for name, values in counts.items()}
        return _METRICS[self._predictions.objective](sums)


def _of_tokens(sums: Sums) -> dict[str, np.ndarray]:
    loss = _ratio(sums["nats"], sums["tokens"])
    found = {"loss": loss, "perplexity": np.exp(np.minimum(loss, 700.0))}
    if "bytes" in sums:
        found["bits_per_byte"] = _ratio(sums["nats"], sums["bytes"]) / np.log(2)
    return found


def _of_tags(sums: Sums) -> dict[str, np.ndarray]:
    found = {"tag_accuracy": _ratio(sums["right"], sums["tokens"])}
    if "true" in sums:  # tags that mark spans
        found["entity_precision"] = _ratio(sums["found"], sums["given"])
        found["entity_recall"] = _ratio(sums["found"], sums["true"])
        found["entity_f1"] = _ratio(2 * sums["found"], sums["given"] + sums["true"])
    return found


def _of_transduction(sums: Sums) -> dict[str, np.ndarray]:
    return {
        "sequence_accuracy": _ratio(sums["exact"], sums["rows"]),
        "token_error_rate": _ratio(sums["edits"], sums["length"]),
    }


def _of_forecasts(sums: Sums) -> dict[str, np.ndarray]:
    found = {
        "forecast_mse": _ratio(sums["squared"], sums["values"]),
        "forecast_mae": _ratio(sums["absolute"], sums["values"]),
    }
    if "pinball" in sums:
        found["quantile_loss"] = _ratio(sums["pinball"], sums["values"])
    if "covered" in sums:
        found["coverage"] = _ratio(sums["covered"], sums["values"])
    if "naive_absolute" in sums:
        found["mase"] = _ratio(sums["absolute"], sums["naive_absolute"])
    return found


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)


NEEDED: dict[Objective, tuple[str, ...]] = {
    "tokens": ("nats", "tokens"),
    "tags": ("right", "tokens"),
    "transduction": ("exact", "edits", "length", "rows"),
    "forecast": ("squared", "absolute", "values"),
}
"""Counts that every model of an objective gives; the last one says how much a row holds."""
_KNOWN: dict[Objective, tuple[str, ...]] = {
    "tokens": (*NEEDED["tokens"], "bytes"),
    "tags": (*NEEDED["tags"], "found", "given", "true"),
    "transduction": NEEDED["transduction"],
    "forecast": (*NEEDED["forecast"], "pinball", "covered", "naive_absolute"),
}
"""All counts that metrics are made of; a model may give fewer than these."""
_METRICS: dict[Objective, Callable[[Sums], dict[str, np.ndarray]]] = {
    "tokens": _of_tokens,
    "tags": _of_tags,
    "transduction": _of_transduction,
    "forecast": _of_forecasts,
}
