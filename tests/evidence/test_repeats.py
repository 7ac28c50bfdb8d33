"""Means and differences over repeats: against scipy and against sums written out here."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mlexpert.evidence.predictions import Predictions
from mlexpert.evidence.repeats import Sizes, against, differences_over, mean_over
from mlexpert.evidence.significance import every_paired_difference, paired_bootstrap

SIZES = Sizes(train=700.0, measured=150.0)
A = np.array([0.71, 0.74, 0.69, 0.73])
B = np.array([0.70, 0.70, 0.68, 0.71])
C = np.array([0.60, 0.66, 0.61, 0.62])


def test_the_mean_of_splits_has_the_corrected_interval():
    found = mean_over("balanced_accuracy", A, "splits", SIZES)
    error = np.sqrt(A.var(ddof=1) * (1 / 4 + 150 / 700))
    low, high = stats.t.interval(0.95, 3, loc=A.mean(), scale=error)
    assert (found.value, found.low, found.high) == pytest.approx((A.mean(), low, high))
    plain = mean_over("balanced_accuracy", A, "training", SIZES)
    low, high = stats.t.interval(0.95, 3, loc=A.mean(), scale=stats.sem(A))
    assert (plain.low, plain.high) == pytest.approx((low, high))
    assert plain.low > found.low


def test_an_interval_ends_where_the_metric_does():
    wide = mean_over("accuracy", np.array([0.3, 0.9]), "splits", SIZES)
    assert (wide.low, wide.high) == (0.0, 1.0)
    loss = mean_over("log_loss", np.array([0.1, 1.9]), "splits", SIZES)
    assert loss.low == 0.0 and loss.high > 5
    error = mean_over("rmse", np.array([10.0, 12.0]), "training", SIZES)
    assert error.low == 0.0 and error.high == pytest.approx(11 + 12.706, abs=1e-3)


def test_undefined_and_single_values_are_said_to_be():
    found = mean_over("pr_auc", np.array([0.5, np.nan, 0.7]), "splits", SIZES)
    assert found.value == pytest.approx(0.6) and "1 of 3" in found.note
    assert np.isnan(mean_over("pr_auc", np.array([0.5]), "training", SIZES).low)
    assert np.isnan(mean_over("pr_auc", np.full(3, np.nan), "splits", SIZES).value)


def test_differences_of_splits_are_nadeau_and_bengios():
    found = differences_over({"a": A, "b": B}, "splits", SIZES)["a", "b"]
    apart = A - B
    t = apart.mean() / np.sqrt(apart.var(ddof=1) * (1 / 4 + 150 / 700))
    assert found.difference == pytest.approx(apart.mean())
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), 3))


def test_differences_of_trainings_are_paired_t_tests():
    found = differences_over({"a": A, "c": C}, "training", SIZES)["a", "c"]
    expected = stats.ttest_rel(A, C)
    interval = expected.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == pytest.approx(
        (expected.pvalue, interval.low, interval.high)
    )


def test_differences_that_do_not_vary_are_not_tested():
    same = differences_over({"a": A, "b": A - 0.25}, "splits", SIZES)["a", "b"]
    assert same.difference == pytest.approx(0.25) and np.isnan(same.p) and "variance" in same.note
    none = differences_over({"a": A, "b": A}, "training", SIZES)["a", "b"]
    assert none.p == 1.0 and (none.low, none.high) == (0.0, 0.0)


@pytest.mark.parametrize("chosen", [True, False])
def test_holm_is_over_all_pairs_where_the_reference_was_chosen_by_the_results(chosen):
    pairs = differences_over({"a": A, "b": B, "c": C}, "training", SIZES)
    p = {pair: one.p for pair, one in pairs.items()}
    family = list(pairs) if chosen else [("a", "b"), ("a", "c")]
    order = sorted(family, key=lambda pair: p[pair])
    expected, largest = {}, 0.0
    for place, pair in enumerate(order):  # Holm 1979, step by step
        largest = max(largest, (len(order) - place) * p[pair])
        expected[pair] = min(1.0, largest)
    found = {one.name: one for one in against("a", pairs, chosen=chosen)}
    assert set(found) == {"b", "c"}
    assert found["b"].adjusted == pytest.approx(expected["a", "b"])
    assert found["c"].adjusted == pytest.approx(expected["a", "c"])


def test_the_reference_is_what_is_taken_off():
    pairs = differences_over({"a": A, "c": C}, "training", SIZES)
    (of_c,) = against("a", pairs, chosen=False)
    (of_a,) = against("c", pairs, chosen=False)
    assert (of_c.name, of_c.reference) == ("c", "a") and of_c.difference < 0
    assert (of_a.name, of_a.difference) == ("a", -of_c.difference)
    assert (of_a.low, of_a.high) == (-of_c.high, -of_c.low)


def test_untested_pairs_do_not_count_as_comparisons():
    pairs = differences_over({"a": A, "b": B, "same": A - 0.25}, "training", SIZES)
    found = {one.name: one for one in against("a", pairs, chosen=False)}
    assert np.isnan(found["same"].adjusted)
    assert found["b"].adjusted == found["b"].p


def test_every_pair_of_models_is_that_of_the_paired_bootstrap():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 90)

    def model(skill: float) -> Predictions:
        logits = rng.normal(size=(90, 3))
        logits[np.arange(90), targets] += skill
        powers = np.exp(logits)
        shares = powers / powers.sum(axis=1, keepdims=True)
        return Predictions(shares, shares.argmax(axis=1), targets)

    models = {"weak": model(0.5), "fair": model(1.0), "good": model(2.0)}
    counts, groups = [30, 30, 30], np.arange(90) // 2
    found = every_paired_difference(models, train_counts=counts, groups=groups, resamples=200)
    assert list(found) == [("weak", "fair"), ("weak", "good"), ("fair", "good")]
    for (first, second), by_metric in found.items():
        expected = paired_bootstrap(
            models[first], models[second], train_counts=counts, groups=groups, resamples=200
        )
        for metric in ("balanced_accuracy", "brier", "pr_auc"):
            assert by_metric[metric] == expected[metric]
