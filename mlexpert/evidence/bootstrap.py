"""Intervals by resampling the test examples, or whole groups of them, with replacement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from mlexpert.data.examples import Objective
from mlexpert.errors import InputError
from mlexpert.evidence.objectives import weighted_metrics
from mlexpert.evidence.predictions import AnyPredictions, predictions_of

_BLOCK = 2_000_000
"""Weights held at a time: small enough for the cache, large enough for numpy."""


@dataclass(frozen=True)
class Interval:
    """A metric with its percentile interval.

    Attributes:
        value: The metric on the examples themselves.
        low: Lower end; NaN where there is no interval.
        high: Upper end; NaN where there is no interval.
        note: Why the interval is missing or to be read with care; empty where nothing is amiss.
    """

    value: float
    low: float
    high: float
    note: str = ""


@dataclass(frozen=True)
class PairedDifference:
    """The difference of a metric, first minus second model, on the same examples.

    Attributes:
        difference: On the examples themselves.
        low: Lower end of its percentile interval.
        high: Upper end.
        p: Two-sided p-value: how often a resample falls on the other side of 0.
        note: As in `Interval`.
    """

    difference: float
    low: float
    high: float
    p: float
    note: str = ""


def intervals_of(
    objective: Objective,
    arrays: Mapping[str, np.ndarray],
    *,
    train_counts: ArrayLike,
    groups: np.ndarray | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return a percentile interval of every metric of `metrics_of`.

    The examples vary and the model does not: the interval says nothing of other training seeds.
    Resamples are not stratified, so that the uncertain share of a rare class is part of the
    interval.

    Args:
        objective: What is predicted.
        arrays: Of N examples, as for `metrics_of`.
        train_counts: (K,) training rows of each class; only classification needs them.
        groups: (N,) group of each example; whole groups are drawn, since examples of a group are
            not independent.
        resamples: How many resamples to draw.
        level: Coverage of the intervals.
        seed: Of the resampling.

    Returns:
        Metric name to `Interval`. Resamples on which a metric is undefined are left out, and the
        note says how many.

    Raises:
        InputError: If an array is not what the objective needs, `level` is not inside (0, 1), or
            `resamples` is below 100.
    """
    predictions = predictions_of(objective, arrays)
    _check(resamples, level)
    metrics = weighted_metrics(predictions, train_counts)
    values = metrics(np.ones((1, len(predictions))))
    blocks = [
        metrics(weights) for weights in resample_weights(len(predictions), groups, resamples, seed)
    ]
    intervals = {}
    for name, (value,) in values.items():
        draws = np.concatenate([block[name] for block in blocks])
        num_units = _num_units(len(predictions), groups)
        intervals[name] = Interval(float(value), *_percentiles(value, draws, level, num_units))
    return intervals


def paired_bootstrap(
    first: AnyPredictions,
    second: AnyPredictions,
    *,
    train_counts: ArrayLike,
    groups: np.ndarray | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, PairedDifference]:
    """Compare two frozen models on the same examples: every resample is scored for both.

    Args:
        first: Predictions of the first model: classes, labels or numbers.
        second: Predictions of the second model for the same examples in the same order.
        train_counts: (K,) training rows of each class; only classification needs them.
        groups: (N,) group of each example; whole groups are drawn.
        resamples: How many resamples to draw.
        level: Coverage of the intervals.
        seed: Of the resampling.

    Returns:
        Metric name to `PairedDifference`, first minus second.

    Raises:
        InputError: If the two were not made on the same examples, or as in `intervals_of`.
    """
    if not np.array_equal(first.targets, second.targets):
        raise InputError(
            "the two sets of predictions have different targets; pass the same examples twice."
        )
    _check(resamples, level)
    scores = [weighted_metrics(predictions, train_counts) for predictions in (first, second)]
    ones = np.ones((1, len(first)))
    values = [metrics(ones) for metrics in scores]
    blocks: list[dict[str, np.ndarray]] = []
    for weights in resample_weights(len(first), groups, resamples, seed):
        one, other = (metrics(weights) for metrics in scores)
        blocks.append({name: one[name] - other[name] for name in one})
    differences = {}
    for name in values[0]:
        value = float(values[0][name][0] - values[1][name][0])
        draws = np.concatenate([block[name] for block in blocks])
        low, high, note = _percentiles(value, draws, level, _num_units(len(first), groups))
        differences[name] = PairedDifference(value, low, high, _two_sided(draws, low), note)
    return differences


def every_paired_difference(
    predictions: Mapping[str, AnyPredictions],
    *,
    train_counts: ArrayLike,
    groups: np.ndarray | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[tuple[str, str], dict[str, PairedDifference]]:
    """Do what `paired_bootstrap` does for each two of several models, scoring each model once.

    Args:
        predictions: Model to its predictions, all of the same examples in the same order.
        train_counts: (K,) training rows of each class; only classification needs them.
        groups: (N,) group of each example; whole groups are drawn.
        resamples: How many resamples to draw.
        level: Coverage of the intervals.
        seed: Of the resampling.

    Returns:
        First and second model, in the order given, to metric name to `PairedDifference`.

    Raises:
        InputError: If they were not made on the same examples, or as in `intervals_of`.
    """
    _check(resamples, level)
    first = next(iter(predictions.values()))
    values, draws = {}, {}
    for model, own in predictions.items():
        if not np.array_equal(first.targets, own.targets):
            raise InputError(
                f"the predictions of {model} have other targets than those of the first model; "
                "pass the same examples for all."
            )
        metrics = weighted_metrics(own, train_counts)
        values[model] = metrics(np.ones((1, len(own))))
        blocks = [
            metrics(weights) for weights in resample_weights(len(own), groups, resamples, seed)
        ]
        draws[model] = {name: np.concatenate([one[name] for one in blocks]) for name in blocks[0]}
    num_units = _num_units(len(first), groups)
    found: dict[tuple[str, str], dict[str, PairedDifference]] = {}
    for one, other in combinations(predictions, 2):
        found[one, other] = {}
        for name in values[one]:
            value = float(values[one][name][0] - values[other][name][0])
            apart = draws[one][name] - draws[other][name]
            low, high, note = _percentiles(value, apart, level, num_units)
            p = _two_sided(apart, low)
            found[one, other][name] = PairedDifference(value, low, high, p, note)
    return found


def resample_weights(
    num_examples: int, groups: np.ndarray | None, resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """Yield blocks (R, N) of how often each example was drawn, `resamples` rows in all.

    Raises:
        InputError: If `groups` does not have one entry per example.
    """
    if groups is not None and len(groups) != num_examples:
        raise InputError(
            f"{len(groups)} groups for {num_examples} examples; pass one group per example."
        )
    unit = None if groups is None else np.unique(groups, return_inverse=True)[1].ravel()
    num_units = num_examples if unit is None else int(unit.max()) + 1
    generator = np.random.default_rng(seed)
    rows = max(1, _BLOCK // num_examples)
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = (
            generator.integers(num_units, size=(size, num_units))
            + num_units * np.arange(size)[:, None]
        )
        times = np.bincount(drawn.ravel(), minlength=size * num_units).reshape(size, num_units)
        yield (times if unit is None else times[:, unit]).astype(np.float64)


def _percentiles(
    value: float, draws: np.ndarray, level: float, num_units: int
) -> tuple[float, float, str]:
    if np.isnan(value):
        return np.nan, np.nan, "undefined on these examples"
    if num_units < 2:
        return np.nan, np.nan, "a single example or group cannot be resampled"
    defined = draws[~np.isnan(draws)]
    missing = len(draws) - len(defined)
    if len(defined) == 0:
        return np.nan, np.nan, "undefined on every resample"
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    notes = (
        [f"undefined on {missing} of {len(draws)} resamples, which were left out"]
        if missing
        else []
    )
    if not low <= value <= high:
        # A minimum, a gap or an area of few positives shifts under resampling; the reader is told.
        notes.append("resampling shifts this metric, and its interval lies beside its value")
    if low == high:
        notes.append(
            "the same on every resample: too few examples, or too uniform ones, for an interval"
        )
    return float(low), float(high), "; ".join(notes)


def _two_sided(draws: np.ndarray, low: float) -> float:
    """Return the p-value of a difference; no finite resampling shows 0, so each count is one up."""
    if np.isnan(low):
        return float("nan")
    defined = draws[~np.isnan(draws)]
    smaller = min((defined <= 0).sum(), (defined >= 0).sum())
    return float(min(1.0, 2 * (smaller + 1) / (len(defined) + 1)))


def _num_units(num_examples: int, groups: np.ndarray | None) -> int:
    return num_examples if groups is None else len(np.unique(groups))


def _check(resamples: int, level: float) -> None:
    if not 0 < level < 1:
        raise InputError(f"level is {level}; expected a share inside (0, 1), such as 0.95.")
    if resamples < 100:
        raise InputError(
            f"resamples is {resamples}; a percentile interval needs at least 100, better 1000."
        )
