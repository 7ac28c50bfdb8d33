"""What the runs of a comparison say together: means, ranks, differences and recalls.

Nothing here knows a recipe or a family: whatever `metrics_of` measures can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from mlexpert.evidence.metric_table import METRICS
from mlexpert.evidence.predictions import LabelPredictions, Predictions, arrays_of
from mlexpert.evidence.record import PartRecord, RunRecord
from mlexpert.evidence.repeats import (
    Difference,
    Sizes,
    Varies,
    against,
    differences_over,
    mean_over,
)
from mlexpert.evidence.significance import Interval, every_paired_difference, intervals_of

HEADLINES = {
    "classification": (
        "balanced_accuracy", "macro_f1", "worst_class_recall", "accuracy", "pr_auc", "brier",
    ),
    "multilabel": (
        "micro_f1", "macro_f1", "mean_average_precision", "subset_accuracy", "log_loss",
    ),
    "regression": ("rmse", "mae", "r2"),
    "tokens": ("bits_per_byte", "loss"),
    "tags": ("tag_accuracy", "entity_f1"),
    "transduction": ("sequence_accuracy", "token_error_rate"),
    "forecast": ("forecast_mse", "forecast_mae", "mase"),
}  # fmt: skip
"""Metrics that are compared where none are named; the first one ranks."""
RESAMPLES = 1000
"""Of the rows, at the least."""
RESAMPLES_PER_COMPARISON = 50
"""The smallest p-value is 2 in the number of resamples. Holm multiplies it by the comparisons, and
with fewer than 40 for each even the plainest difference could not pass."""
_GROUPED = (
    "no p-value: rows of one group are not independent, and which test rows share one is not kept; "
    "take several seeds"
)
_NO_INTERVAL = "its interval was not kept"

Part = Literal["validation", "test"]
Runs = Mapping[str, Mapping[int, RunRecord]]
"""Recipe to seed to the finished run, in the order of the comparison."""


def results_of(
    runs: Runs,
    *,
    seeds: Sequence[int],
    metrics: Sequence[str],
    part: Part,
    varies: Varies,
    baseline: str | None = None,
    groups: np.ndarray | None = None,
    is_grouped: bool = False,
) -> dict[str, Any]:
    """Return what a comparison found, as JSON can hold it (but for NaN).

    Recipes without a run for every seed get their means, and no rank: theirs are means over other
    rows.

    Args:
        runs: The finished runs.
        seeds: Of the repeats.
        metrics: What is compared; the first one ranks.
        part: On which rows.
        varies: What varies between the repeats.
        baseline: What the others are compared with; None, or one without all its runs: the best.
        groups: (N,) group of each row, where one repeat is resampled by groups.
        is_grouped: Whether rows have groups at all, also where they are not known.

    Returns:
        "part", "varies", "rows" (trained on, measured on), "means" by recipe and metric,
        "ranking", "best", "reference", "chosen" (whether the reference is the best found here),
        "comparisons" (how many p-values of a metric were adjusted together), "resamples" (of the
        rows, for differences; None where repeats vary), "differences" by metric, "recalls" or None.
    """
    shown = {
        name: {seed: _part(run, part) for seed, run in own.items()} for name, own in runs.items()
    }
    sizes = _sizes(runs, part)
    values = {
        name: {
            metric: np.array(
                [own[seed].metrics.get(metric, np.nan) if seed in own else np.nan for seed in seeds]
            )
            for metric in metrics
        }
        for name, own in shown.items()
    }
    one = varies == "rows"
    complete = [name for name, own in shown.items() if set(own) >= set(seeds)]
    means = {
        name: _row_intervals(runs[name][seeds[0]], shown[name][seeds[0]], metrics, groups)
        if one
        else {metric: mean_over(metric, values[name][metric], varies, sizes) for metric in metrics}
        for name in shown
        if shown[name]
    }
    ranking = sorted(complete, key=lambda name: _rank(metrics[0], means[name][metrics[0]].value))
    best = ranking[0] if ranking else None
    chosen = baseline not in complete
    reference = best if chosen else baseline
    number = len(complete)
    comparisons = number * (number - 1) // 2 if chosen else max(number - 1, 0)
    resamples = max(RESAMPLES, RESAMPLES_PER_COMPARISON * comparisons) if one else None
    differences: dict[str, list[Difference]] = {}
    if reference is not None and len(complete) > 1:
        by_rows = (
            None
            if resamples is None
            else _row_differences(
                runs, shown, ranking, seeds[0], groups, part, is_grouped, resamples
            )
        )
        for metric in metrics:
            pairs = (
                differences_over({name: values[name][metric] for name in ranking}, varies, sizes)
                if by_rows is None
                else by_rows[metric]
            )
            differences[metric] = against(reference, pairs, chosen=chosen)
    return {
        "part": part,
        "varies": varies,
        "rows": [sizes.train, sizes.measured],
        "means": {
            name: {metric: asdict(mean) for metric, mean in own.items()}
            for name, own in means.items()
        },
        "ranking": ranking,
        "best": best,
        "reference": reference,
        "chosen": chosen,
        "comparisons": comparisons,
        "resamples": resamples,
        "differences": {
            metric: [asdict(one) for one in found] for metric, found in differences.items()
        },
        "recalls": _recalls(runs, shown),
    }


def metric_scores(run: RunRecord, part: Part) -> dict[str, float] | None:
    """Return every metric of a run on a part, or None where it was not measured."""
    record = run.test if part == "test" else run.validation
    return None if record is None else dict(record.metrics)


def _part(run: RunRecord, part: Part) -> PartRecord[Any]:
    record = run.test if part == "test" else run.validation
    assert record is not None, "only runs with predictions of the part are compared"
    return record


def _sizes(runs: Runs, part: Part) -> Sizes:
    parts = [run.run["data"]["parts"] for own in runs.values() for run in own.values()]
    train, measured = (
        float(np.mean([one[name]["rows"] for one in parts])) if parts else np.nan
        for name in ("train", part)
    )
    return Sizes(train, measured)


def _rank(metric: str, value: float) -> tuple[bool, float]:
    """Return a key that puts the best first and what is undefined last."""
    return np.isnan(value), -value if METRICS[metric].better == "higher" else value


def _row_intervals(
    run: RunRecord, part: PartRecord[Any], metrics: Sequence[str], groups: np.ndarray | None
) -> dict[str, Interval]:
    """Return the bootstrap intervals of one run; those of test were made when it was opened."""
    if part.name == "test":
        bounds = {metric: part.intervals.get(metric, (np.nan, np.nan)) for metric in metrics}
        return {
            metric: Interval(
                part.metrics.get(metric, np.nan),
                low,
                high,
                part.notes.get(metric, _NO_INTERVAL if np.isnan(low) else ""),
            )
            for metric, (low, high) in bounds.items()
        }
    arrays = arrays_of(part.predictions)
    found = intervals_of(run.objective, arrays, train_counts=run.train_counts, groups=groups)
    return {metric: found[metric] for metric in metrics}


def _row_differences(
    runs: Runs,
    shown: Mapping[str, Mapping[int, PartRecord[Any]]],
    names: Sequence[str],
    seed: int,
    groups: np.ndarray | None,
    part: Part,
    is_grouped: bool,
    resamples: int,
) -> dict[str, dict[tuple[str, str], Difference]]:
    """Return metric to pair of recipes to their difference on the same rows, resampled."""
    counts = runs[names[0]][seed].train_counts
    found = every_paired_difference(
        {name: shown[name][seed].predictions for name in names},
        train_counts=counts,
        groups=groups,
        resamples=resamples,
    )
    unknown = is_grouped and groups is None and part == "test"
    by_metric: dict[str, dict[tuple[str, str], Difference]] = {}
    for (first, second), by_name in found.items():
        for metric, one in by_name.items():
            numbers = (np.nan,) * 3 if unknown else (one.low, one.high, one.p)
            by_metric.setdefault(metric, {})[first, second] = Difference(
                first, second, one.difference, *numbers, note=_GROUPED if unknown else one.note
            )
    return by_metric


def _recalls(
    runs: Runs, shown: Mapping[str, Mapping[int, PartRecord[Any]]]
) -> dict[str, Any] | None:
    """Return the recall of each class or label, a mean over the repeats; None for numbers."""
    first = next((run for own in runs.values() for run in own.values()), None)
    if first is None or first.objective not in ("classification", "multilabel"):
        return None
    counts = [run.train_counts for own in runs.values() for run in own.values()]
    order = np.argsort(-np.mean(counts, axis=0), kind="stable")
    values = {}
    for name, own in shown.items():
        if own:
            each = np.array([recalls_of(part.predictions) for part in own.values()])
            known = np.isfinite(each)
            total = np.where(known, each, 0.0).sum(axis=0)
            number = known.sum(axis=0)
            mean = np.divide(total, number, out=np.full(len(total), np.nan), where=number > 0)
            values[name] = mean[order].tolist()
    return {
        "classes": [first.class_names[k] for k in order],
        "train_counts": np.mean(counts, axis=0)[order].tolist(),
        "values": values,
    }


def recalls_of(predictions: Predictions | LabelPredictions) -> np.ndarray:
    """Return the share (K,) of each class's (or label's) rows that is decided for it; else NaN."""
    number = predictions.num_classes
    targets, decisions = predictions.targets, predictions.decisions
    if isinstance(predictions, LabelPredictions):
        support, hits = targets.sum(axis=0), (targets & decisions).sum(axis=0)
    else:
        support = np.bincount(targets, minlength=number)
        hits = np.bincount(targets[targets == decisions], minlength=number)
    return np.divide(hits, support, out=np.full(number, np.nan), where=support > 0)
