"""What repeats tell: a mean with its interval, and which differences are more than chance.

What varies from one repeat to the next decides the test. Different random splits of one data set
share most of their training rows, so a plain t-test calls equal learners different too often, and
the more so the more repeats there are: the variance is corrected for it (Nadeau and Bengio 2003).
On one split only chance in training varies (and which of the other rows are trained on, where
validation is cut from them): a paired t-test, which says nothing of other rows to measure on. With
one repeat nothing varies, and the rows themselves are resampled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from scipy import stats

from mlexpert.evidence.metric_table import bounds
from mlexpert.evidence.significance import Interval, holm, nadeau_bengio

Varies = Literal["splits", "training", "rows"]
"""Between repeats: the random split and all that is drawn; only what training draws; nothing, so
that rows are resampled."""
ALPHA = 0.05
"""Adjusted p-value below which a difference is called real."""
_SAME = "the same difference in every repeat, so there is no variance to test it against"


@dataclass(frozen=True)
class Sizes:
    """Mean numbers of rows over the repeats: those trained on, and those measured on."""

    train: float
    measured: float


@dataclass(frozen=True)
class Difference:
    """A recipe's metric less that of the one it is compared with.

    Attributes:
        name: The recipe.
        reference: What it is compared with.
        difference: Mean over the repeats.
        low: Lower end of its 95 % interval, for this comparison by itself.
        high: Upper end.
        p: Two-sided p-value; NaN where there is no test.
        adjusted: The same after Holm's correction for the comparisons of this metric.
        note: Why there is no test, or what to be careful of; empty where nothing is amiss.
    """

    name: str
    reference: str
    difference: float
    low: float
    high: float
    p: float
    adjusted: float = np.nan
    note: str = ""


def mean_over(metric: str, values: np.ndarray, varies: Varies, sizes: Sizes) -> Interval:
    """Return the mean of a metric over repeats with its 95 % interval.

    Args:
        metric: Its name; an interval ends where its values do.
        values: (S,) of the repeats; NaN where it was undefined.
        varies: What varies between them: "splits" or "training".
        sizes: Rows, for the correction.
    """
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return Interval(np.nan, np.nan, np.nan, "undefined on these rows")
    mean, low, high, _ = _t_test(known, varies, sizes)
    notes = [] if len(known) == len(values) else [f"undefined in {_missing(values)} repeats"]
    if len(known) == 1:
        notes.append("one repeat has no interval")
    elif low == high:
        notes.append("the same in every repeat")
    ends = bounds(metric)
    low, high = (float(np.clip(end, *ends)) for end in (low, high))
    return Interval(mean, low, high, "; ".join(notes))


def differences_over(
    values: Mapping[str, np.ndarray], varies: Varies, sizes: Sizes
) -> dict[tuple[str, str], Difference]:
    """Return the paired difference of each two recipes over their repeats.

    Args:
        values: Recipe to its metric (S,), repeat by repeat on the same rows for all.
        varies: What varies between the repeats: "splits" or "training".
        sizes: Rows, for the correction.

    Returns:
        First and second recipe, in the order given, to first less second; p-values unadjusted.
    """
    found = {}
    for first, second in combinations(values, 2):
        apart = values[first] - values[second]
        known = apart[np.isfinite(apart)]
        note = "" if len(known) == len(apart) else f"undefined in {_missing(apart)} repeats"
        if len(known) == 0:
            found[first, second] = Difference(
                first, second, np.nan, np.nan, np.nan, np.nan, note=note
            )
            continue
        mean, low, high, p = _t_test(known, varies, sizes)
        if len(known) > 1 and np.isnan(p):
            note = _SAME
        found[first, second] = Difference(first, second, mean, low, high, p, note=note)
    return found


def against(
    reference: str, pairs: Mapping[tuple[str, str], Difference], *, chosen: bool
) -> list[Difference]:
    """Return every recipe's difference to a reference, with p-values adjusted by Holm.

    Args:
        reference: What the others are compared with.
        pairs: Each two recipes to their difference.
        chosen: Whether the reference was chosen by these very results, as the best is. Any other
            pair could then have been the one that is looked at, so the p-values are adjusted for
            all of them; for a reference that was named before, only for those with it.
    """
    own = {pair for pair in pairs if reference in pair}
    family = [pair for pair in pairs if chosen or pair in own]
    tested = [pair for pair in family if np.isfinite(pairs[pair].p)]
    adjusted = holm([pairs[pair].p for pair in tested]).tolist() if tested else []
    by_pair = dict(zip(tested, adjusted, strict=True))
    return [
        _turned(replace(one, adjusted=by_pair.get(pair, np.nan)), reference)
        for pair, one in pairs.items()
        if pair in own
    ]


def _turned(one: Difference, reference: str) -> Difference:
    """Return the difference with the reference as what is taken off."""
    if one.reference == reference:
        return one
    return replace(
        one,
        name=one.reference,
        reference=reference,
        difference=-one.difference,
        low=-one.high,
        high=-one.low,
    )


def _t_test(values: np.ndarray, varies: Varies, sizes: Sizes) -> tuple[float, float, float, float]:
    """Return the mean of finite numbers (S,), its interval, and the p-value of its being 0.

    Numbers that do not vary beyond rounding have no p-value, unless they are all 0.
    """
    mean = float(values.mean())
    if len(values) == 1:
        return mean, np.nan, np.nan, np.nan
    if np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return mean, mean, mean, 1.0 if abs(mean) <= 1e-12 else np.nan
    if varies == "splits":
        test = nadeau_bengio(values, n_train=sizes.train, n_test=sizes.measured)
        return mean, test.low, test.high, test.p
    result = stats.ttest_1samp(values, 0.0)
    interval = result.confidence_interval(0.95)
    return mean, float(interval.low), float(interval.high), float(result.pvalue)


def _missing(values: np.ndarray) -> str:
    return f"{int((~np.isfinite(values)).sum())} of {len(values)}"
