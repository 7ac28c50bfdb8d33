from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from mlexpert.errors import InputError
from mlexpert.evidence.metrics import classification_metrics
from mlexpert.evidence.predictions import Predictions
from mlexpert.evidence.significance import (
    holm,
    intervals_of,
    mcnemar,
    nadeau_bengio,
    paired_bootstrap,
    wilcoxon,
)


def sample(num_examples: int = 400, num_classes: int = 3, seed: int = 0, skill: float = 1.5):
    rng = np.random.default_rng(seed)
    targets = np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, num_examples)])
    targets = targets[:num_examples]
    logits = rng.normal(size=(num_examples, num_classes))
    logits[np.arange(num_examples), targets] += skill
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probabilities, probabilities.argmax(axis=1), targets


def intervals(probabilities, decisions, targets, **options):
    arrays = {"probabilities": probabilities, "decisions": decisions, "targets": targets}
    return intervals_of("classification", arrays, **options)


class TestBootstrapIntervals:
    def test_accuracy_interval_is_the_binomial_one(self):
        probabilities, decisions, targets = sample(2000)
        interval = intervals(
            probabilities, decisions, targets, train_counts=[200] * 3, resamples=2000
        )["accuracy"]
        accuracy = (decisions == targets).mean()
        exact = stats.binom.ppf([0.025, 0.975], 2000, accuracy) / 2000
        assert interval.value == pytest.approx(accuracy)
        assert [interval.low, interval.high] == pytest.approx(exact, abs=0.004)
        assert interval.note == ""

    def test_agrees_with_scipy_on_a_rank_metric(self):
        probabilities, decisions, targets = sample(300, 2)
        ours = intervals(probabilities, decisions, targets, train_counts=[90, 9], resamples=2000)[
            "pr_auc"
        ]
        theirs = stats.bootstrap(
            (targets == 1, probabilities[:, 1]),
            sk.average_precision_score,
            paired=True,
            vectorized=False,
            n_resamples=500,
            method="percentile",
            rng=np.random.default_rng(5),
        ).confidence_interval
        assert [ours.low, ours.high] == pytest.approx([theirs.low, theirs.high], abs=0.015)

    def test_seeded_and_complete(self):
        arrays = sample(100)
        one, same, other = (
            intervals(*arrays, train_counts=[200] * 3, seed=seed) for seed in (3, 3, 4)
        )
        assert list(one) == list(classification_metrics(*arrays, train_counts=[200] * 3))
        assert repr(one) == repr(same) != repr(other)

    def test_groups_are_drawn_whole(self):
        # Ten copies of each example carry no more information than one.
        single = sample(60)
        copies = [np.repeat(array, 10, axis=0) for array in single]
        groups = np.repeat(np.arange(60), 10)
        counts = [200] * 3

        def width(arrays, groups=None):
            found = intervals(*arrays, train_counts=counts, groups=groups)["brier"]
            return found.high - found.low

        assert width(copies, groups) == pytest.approx(width(single), rel=1e-9)
        assert width(copies) < 0.5 * width(copies, groups)

    def test_degenerate_metrics_say_so(self):
        targets = np.array([0] * 30 + [1])
        probabilities = np.eye(2)[targets] * 0.8 + 0.1
        found = intervals(probabilities, targets, targets, train_counts=[200, 50])
        assert found["accuracy"].low == found["accuracy"].high == 1.0
        assert "same on every resample" in found["accuracy"].note
        share = found["pr_auc"].note
        missing = int(share.split(" of 1000 ")[0].removeprefix("undefined on "))
        assert missing / 1000 == pytest.approx((30 / 31) ** 31, abs=0.05)
        assert np.isnan(found["few_shot"].low)
        assert found["few_shot"].note == "undefined on these examples"

    def test_one_group_cannot_be_resampled(self):
        found = intervals(*sample(50), train_counts=[9] * 3, groups=np.zeros(50))
        assert np.isnan(found["accuracy"].low)
        assert "single" in found["accuracy"].note

    def test_an_interval_beside_its_value_is_marked(self):
        # Half of every class is right; in a resample some class always fares worse than half.
        targets = np.repeat(np.arange(40), 20)
        decisions = np.where(np.arange(800) % 2, targets, (targets + 1) % 40)
        probabilities = np.full((800, 40), 1 / 40)
        found = intervals(probabilities, decisions, targets, train_counts=[50] * 40, resamples=200)[
            "worst_class_recall"
        ]
        assert found.value == 0.5
        assert found.high < found.value
        assert "beside its value" in found.note

    def test_ten_thousand_examples_take_seconds(self):
        arrays = sample(10_000, 10)
        start = time.process_time()
        # A quarter of the usual resamples: 1000 of them have 10 seconds.
        intervals(*arrays, train_counts=[100] * 10, resamples=250)
        assert time.process_time() - start < 2.5

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"level": 95}, "level is 95"),
            ({"resamples": 10}, "at least 100"),
            ({"groups": np.zeros(3)}, "3 groups for 50 examples"),
        ],
    )
    def test_refuses(self, options, message):
        with pytest.raises(InputError, match=message):
            intervals(*sample(50), train_counts=[9] * 3, **options)


class TestPairedBootstrap:
    def test_pairing_narrows_the_interval_of_two_similar_models(self):
        probabilities, decisions, targets = sample(500)
        changed = decisions.copy()
        changed[:40] = targets[:40]
        first = Predictions(probabilities, changed, targets)
        second = Predictions(probabilities, decisions, targets)
        found = paired_bootstrap(first, second, train_counts=[9] * 3)["accuracy"]
        gain = (changed == targets).astype(float) - (decisions == targets)
        half = 1.96 * gain.std() / np.sqrt(500)
        assert found.difference == pytest.approx(gain.mean())
        assert [found.low, found.high] == pytest.approx(
            [gain.mean() - half, gain.mean() + half], abs=0.004
        )
        assert found.p < 0.01

    def test_equal_models_differ_by_nothing(self):
        same = Predictions(*sample(100))
        found = paired_bootstrap(same, same, train_counts=[9] * 3)
        assert found["brier"].difference == found["brier"].low == found["brier"].high == 0
        assert found["brier"].p == 1
        assert np.isnan(found["many_shot"].p)

    def test_p_values_are_uniform_under_the_null(self):
        ps = []
        for seed in range(60):
            first = sample(150, seed=seed)
            rng = np.random.default_rng(1000 + seed)
            logits = rng.normal(size=(150, 3))
            logits[np.arange(150), first[2]] += 1.5
            other = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            ps.append(
                paired_bootstrap(
                    Predictions(*first),
                    Predictions(other, other.argmax(axis=1), first[2]),
                    train_counts=[9] * 3,
                    resamples=400,
                )["log_loss"].p
            )
        assert stats.kstest(ps, "uniform").pvalue > 0.01

    def test_other_examples_are_refused(self):
        with pytest.raises(InputError, match="different targets"):
            paired_bootstrap(
                Predictions(*sample(50, seed=0)),
                Predictions(*sample(50, seed=1)),
                train_counts=[9] * 3,
            )


class TestNadeauBengio:
    DIFFERENCES = (0.02, 0.01, 0.03, -0.01, 0.015)

    def test_without_overlap_it_is_the_paired_t_test(self):
        found = nadeau_bengio(self.DIFFERENCES, n_train=1e12, n_test=1)
        reference = stats.ttest_1samp(self.DIFFERENCES, 0)
        interval = reference.confidence_interval()
        assert (found.t, found.p) == pytest.approx((reference.statistic, reference.pvalue))
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
        assert found.degrees_of_freedom == 4

    def test_five_folds_widen_by_three_halves(self):
        # 1/5 + 1/4 = .45 in place of .2: the interval grows by the root of 2.25.
        plain = nadeau_bengio(self.DIFFERENCES, n_train=1e12, n_test=1)
        found = nadeau_bengio(self.DIFFERENCES, n_train=800, n_test=200)
        assert found.difference == pytest.approx(0.013)
        assert found.high - found.low == pytest.approx(1.5 * (plain.high - plain.low))
        assert found.t == pytest.approx(plain.t / 1.5)

    def test_no_variance(self):
        equal = nadeau_bengio([0.0, 0.0, 0.0], n_train=8, n_test=2)
        assert np.isnan(equal.t)
        assert np.isnan(equal.p)
        constant = nadeau_bengio([-0.1, -0.1], n_train=8, n_test=2)
        assert constant.t == -np.inf
        assert constant.p == 0
        assert constant.low == constant.high == pytest.approx(-0.1)

    def test_keeps_its_level_where_the_paired_t_test_does_not(self):
        """Two learners of equal quality, each on its half of the columns, on 20 random splits."""
        rng = np.random.default_rng(0)
        alarms = {"corrected": 0, "plain": 0}
        trials = 200
        for _ in range(trials):
            columns = rng.normal(size=(100, 10))
            labels = np.sign(0.3 * columns.sum(axis=1) + rng.normal(size=100))
            differences = []
            for _ in range(20):
                order = rng.permutation(100)
                train, test = order[:80], order[80:]
                accuracies = [
                    np.mean(np.sign(half[test] @ _fit(half[train], labels[train])) == labels[test])
                    for half in (columns[:, :5], columns[:, 5:])
                ]
                differences.append(accuracies[0] - accuracies[1])
            alarms["corrected"] += nadeau_bengio(differences, n_train=80, n_test=20).p < 0.05
            alarms["plain"] += stats.ttest_1samp(differences, 0).pvalue < 0.05
        assert alarms["corrected"] / trials < 0.11
        assert alarms["plain"] / trials > 0.3

    @pytest.mark.parametrize(
        ("differences", "sizes", "message"),
        [
            ([0.1], (8, 2), "at least two"),
            ([0.1, np.nan], (8, 2), "finite"),
            ([0.1, 0.2], (0, 2), "positive"),
        ],
    )
    def test_refuses(self, differences, sizes, message):
        with pytest.raises(InputError, match=message):
            nadeau_bengio(differences, n_train=sizes[0], n_test=sizes[1])


def _fit(columns: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.linalg.solve(columns.T @ columns, columns.T @ labels)


def correct(both: int, first: int, second: int, neither: int):
    cells = [(True, True), (True, False), (False, True), (False, False)]
    rows = np.repeat(cells, [both, first, second, neither], axis=0)
    return rows[:, 0], rows[:, 1]


class TestMcNemar:
    def test_exact_is_twice_the_binomial_tail(self):
        found = mcnemar(*correct(50, 2, 9, 5))
        assert found.method == "exact binomial"
        assert found.statistic == 2
        assert found.p == pytest.approx(2 * sum(stats.binom.pmf(i, 11, 0.5) for i in range(3)))

    def test_chi_squared_of_a_textbook_table(self):
        # Agresti's approval ratings: 150 and 86 changed their mind; z = -4.17 without correction.
        found = mcnemar(*correct(794, 150, 86, 570))
        assert found.method.startswith("chi-squared")
        assert found.statistic == pytest.approx((4.166 - 1 / np.sqrt(236)) ** 2, abs=0.01)
        assert found.p == pytest.approx(stats.chi2.sf(63**2 / 236, 1))

    def test_exact_and_chi_squared_meet_for_many_pairs(self):
        arrays = correct(10, 300, 260, 10)
        exact, asymptotic = (mcnemar(*arrays, exact=flag).p for flag in (True, False))
        assert exact == pytest.approx(asymptotic, abs=0.002)

    def test_no_disagreement(self):
        assert mcnemar(*correct(5, 0, 0, 5)).p == 1
        assert mcnemar(*correct(5, 0, 0, 5), exact=False).p == 1

    def test_refuses_unequal_lengths(self):
        with pytest.raises(InputError, match=r"\(3,\) and \(2,\)"):
            mcnemar(np.ones(3, dtype=bool), np.ones(2, dtype=bool))


class TestWilcoxon:
    def test_six_of_six_reach_one_in_thirty_two(self):
        found = wilcoxon([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
        assert (found.statistic, found.p) == pytest.approx((0, 1 / 32))

    @pytest.mark.parametrize("differences", [[0.1, 0.2, 0.3, 0.4, 0.5], [0.0] * 5 + [1.0] * 5])
    def test_refuses_fewer_than_six(self, differences):
        with pytest.raises(InputError, match=f"{len(differences)} pairs, 5 of them unequal"):
            wilcoxon(differences)


class TestHolm:
    def test_rejects_what_the_step_down_procedure_rejects(self):
        rng = np.random.default_rng(0)
        for _ in range(50):
            p_values = rng.uniform(size=rng.integers(1, 8)) ** 3
            for alpha in (0.01, 0.05, 0.2):
                rejected = np.zeros(len(p_values), dtype=bool)
                for step, k in enumerate(np.argsort(p_values)):
                    if p_values[k] > alpha / (len(p_values) - step):
                        break
                    rejected[k] = True
                assert np.array_equal(holm(p_values) <= alpha, rejected)

    def test_known_values(self):
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
        assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])

    def test_refuses_what_is_no_probability(self):
        with pytest.raises(InputError, match="inside"):
            holm([0.1, 1.2])


def test_interval_value_is_the_metric():
    arrays = sample(80)
    values = classification_metrics(*arrays, train_counts=[9] * 3)
    found = intervals(*arrays, train_counts=[9] * 3)
    assert {name: one.value for name, one in found.items()} == pytest.approx(values, nan_ok=True)
