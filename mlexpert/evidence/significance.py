"""Tests for the comparisons that a benchmark makes: examples, folds or data sets vary.

Two frozen models on one test set: `paired_bootstrap`, of any metric of classes, labels or numbers,
or `mcnemar` for accuracy. Cross-validation or repeated splits: `nadeau_bengio`, since a plain
paired t-test calls two equal learners different too often: by thirty splits in half of all cases.
Many data sets: `wilcoxon`. Several comparisons at once: `holm` on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mlexpert.errors import InputError
from mlexpert.evidence.bootstrap import (
    Interval,
    PairedDifference,
    every_paired_difference,
    intervals_of,
    paired_bootstrap,
)

__all__ = [
    "CorrectedT",
    "Interval",
    "PairedDifference",
    "Test",
    "every_paired_difference",
    "holm",
    "intervals_of",
    "mcnemar",
    "nadeau_bengio",
    "paired_bootstrap",
    "wilcoxon",
]

_EXACT_BELOW = 25
"""Discordant pairs below which McNemar's chi-squared approximation is not to be trusted."""
_FEWEST_PAIRS = 6
"""Five pairs cannot reach p < .0625 in an exact signed-rank test, whatever they show."""


@dataclass(frozen=True)
class CorrectedT:
    """A t-test over resampled splits.

    Attributes:
        difference: Mean difference over the splits.
        low: Lower end of its interval.
        high: Upper end of its interval.
        t: Statistic; infinite where every split shows one and the same difference, NaN where all
            are 0.
        p: Two-sided p-value; NaN where `t` is.
        degrees_of_freedom: Number of splits less one.
    """

    difference: float
    low: float
    high: float
    t: float
    p: float
    degrees_of_freedom: int


@dataclass(frozen=True)
class Test:
    """A test's statistic, its two-sided p-value, and how it was computed."""

    __test__ = False  # not a test case for pytest

    statistic: float
    p: float
    method: str


def nadeau_bengio(
    differences: Sequence[float] | np.ndarray, *, n_train: float, n_test: float, level: float = 0.95
) -> CorrectedT:
    """Compare two learners over K splits of one data set, whose training sets overlap.

    The variance of the mean is the sample variance times (1 / K + n_test / n_train); Nadeau and
    Bengio 2003, equation 7 of section 3.3.

    Args:
        differences: (K,) metric of the first less that of the second learner, one per split.
        n_train: Training rows of a split (a mean where they vary).
        n_test: Test rows of a split.
        level: Coverage of the interval.

    Returns:
        Mean difference with interval, statistic and p-value.

    Raises:
        InputError: If there are fewer than two differences, one is not finite, or a size is not
            positive.
    """
    values = _finite(differences, "differences")
    if len(values) < 2:
        raise InputError(f"{len(values)} difference given; a variance needs at least two splits.")
    if n_train <= 0 or n_test <= 0:
        raise InputError(
            f"n_train is {n_train} and n_test is {n_test}; both must be positive row counts."
        )
    mean, freedom = float(values.mean()), len(values) - 1
    error = float(np.sqrt(values.var(ddof=1) * (1 / len(values) + n_test / n_train)))
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    if np.ptp(values) == 0:
        t = np.copysign(np.inf, mean) if mean else np.nan
        return CorrectedT(mean, mean, mean, float(t), 0.0 if mean else np.nan, freedom)
    t = mean / error
    return CorrectedT(
        mean, mean - half, mean + half, t, float(2 * stats.t.sf(abs(t), freedom)), freedom
    )


def mcnemar(
    first_correct: np.ndarray, second_correct: np.ndarray, *, exact: bool | None = None
) -> Test:
    """Compare the accuracy of two frozen models on the same examples (McNemar 1947).

    Only examples on which exactly one model is right count; with equal accuracy they fall either
    way evenly.

    Args:
        first_correct: (N,) booleans, whether the first model is right.
        second_correct: (N,) booleans, whether the second model is right.
        exact: Whether to use the binomial distribution rather than chi-squared with continuity
            correction. By default below 25 such examples.

    Returns:
        The statistic is the smaller count when exact, else the corrected chi-squared.

    Raises:
        InputError: If the two have different lengths or are empty.
    """
    first, second = np.asarray(first_correct, dtype=bool), np.asarray(second_correct, dtype=bool)
    if first.shape != second.shape or first.ndim != 1 or len(first) == 0:
        raise InputError(
            f"got shapes {first.shape} and {second.shape}; "
            "expected one boolean per example for each."
        )
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    if exact if exact is not None else discordant < _EXACT_BELOW:
        p = float(stats.binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0
        return Test(float(min(only_first, only_second)), p, "exact binomial")
    statistic = max(0, abs(only_first - only_second) - 1) ** 2 / discordant if discordant else 0.0
    return Test(
        statistic, float(stats.chi2.sf(statistic, 1)), "chi-squared with continuity correction"
    )


def wilcoxon(differences: Sequence[float] | np.ndarray) -> Test:
    """Compare two learners over many data sets by the signed-rank test (Demsar 2006).

    Args:
        differences: (D,) metric of the first less that of the second learner, one per data set.

    Returns:
        The smaller rank sum and the two-sided p-value.

    Raises:
        InputError: If fewer than six differences are unequal to 0: no outcome of five could be
            significant.
    """
    values = _finite(differences, "differences")
    unequal = int(np.count_nonzero(values))
    if unequal < _FEWEST_PAIRS:
        raise InputError(
            f"{len(values)} pairs, {unequal} of them unequal: the signed-rank test cannot reach "
            f"p < .05 with fewer than {_FEWEST_PAIRS}; add data sets, or report every difference "
            "with its interval."
        )
    result = stats.wilcoxon(values)
    return Test(float(result.statistic), float(result.pvalue), "Wilcoxon signed-rank")


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjust p-values of several comparisons, so that the level holds for any false alarm at all.

    Step-down procedure of Holm (1979): comparison i is significant at level a exactly when its
    adjusted value is <= a.

    Args:
        p_values: (M,) unadjusted p-values.

    Returns:
        (M,) adjusted p-values, in the order given.

    Raises:
        InputError: If a value is not inside [0, 1].
    """
    values = _finite(p_values, "p_values")
    if len(values) == 0 or values.min() < 0 or values.max() > 1:
        raise InputError(
            f"p_values are {list(values)}; expected at least one number, all inside [0, 1]."
        )
    order = np.argsort(values, kind="stable")
    remaining = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * remaining))
    return adjusted


def _finite(values: Sequence[float] | np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise InputError(f"{name} must be a list of finite numbers; got {list(np.ravel(array))}.")
    return array
