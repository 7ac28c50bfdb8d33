"""Metrics of labels and of numbers, against scikit-learn, scipy and brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk
from sklearn.dummy import DummyRegressor

from mlexpert.errors import InputError
from mlexpert.evidence.bootstrap import intervals_of, paired_bootstrap
from mlexpert.evidence.labels.guardrails import best_constant_f1
from mlexpert.evidence.labels.metrics import label_confusions, per_label_table
from mlexpert.evidence.metric_table import METRICS, is_met, quantity, requirement
from mlexpert.evidence.objectives import metrics_of, weighted_metrics
from mlexpert.evidence.predictions import LabelPredictions, ValuePredictions, predictions_of


def label_sample(num_rows: int = 300, seed: int = 0) -> dict[str, np.ndarray]:
    """Return six labels, of which the last never holds and is never given; some rows have none."""
    rng = np.random.default_rng(seed)
    shares = np.array([0.5, 0.3, 0.2, 0.1, 0.05, 0.0])
    targets = rng.random((num_rows, 6)) < shares
    logits = np.round(rng.normal(size=targets.shape) + 2 * targets - 1, 1)  # with ties
    probabilities = 1 / (1 + np.exp(-logits))
    probabilities[:, 5] = 0.1
    return {
        "probabilities": probabilities,
        "decisions": (probabilities > 0.45).astype(np.uint8),
        "targets": targets.astype(np.uint8),
    }


def value_sample(num_rows: int = 301, seed: int = 0, noise: float = 2.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.normal(1e6, 5.0, num_rows)
    return {"predictions": targets + rng.normal(0.3, noise, num_rows), "targets": targets}


SAMPLES = {"multilabel": label_sample, "regression": value_sample}


class TestLabels:
    def test_agree_with_scikit_learn(self):
        arrays = label_sample()
        probabilities, decisions, targets = arrays.values()
        assert not targets.any(axis=0)[5] and not decisions.any(axis=0)[5]
        assert ((targets.sum(axis=1) == 0) & (decisions.sum(axis=1) == 0)).any()
        areas = sk.average_precision_score(targets[:, :5], probabilities[:, :5], average=None)
        columns = list(zip(targets.T, probabilities.T, strict=True))
        expected = {
            "micro_f1": sk.f1_score(targets, decisions, average="micro"),
            "macro_f1": sk.f1_score(targets, decisions, average="macro", zero_division=np.nan),
            "mean_average_precision": areas.mean(),
            "samples_f1": sk.f1_score(targets, decisions, average="samples", zero_division=1.0),
            "hamming_loss": sk.hamming_loss(targets, decisions),
            "subset_accuracy": sk.accuracy_score(targets, decisions),
            "log_loss": np.mean([sk.log_loss(true, p, labels=[0, 1]) for true, p in columns]),
            "brier": np.mean([sk.brier_score_loss(true, p, pos_label=1) for true, p in columns]),
        }
        assert metrics_of("multilabel", arrays, train_counts=()) == pytest.approx(expected)

    def test_without_any_label_what_is_undefined_is_nan(self):
        arrays = {name: array[:, 5:] for name, array in label_sample().items()}
        values = metrics_of("multilabel", arrays, train_counts=())
        undefined = {name for name, value in values.items() if np.isnan(value)}
        assert undefined == {"micro_f1", "macro_f1", "mean_average_precision"}
        assert values["samples_f1"] == values["subset_accuracy"] == 1.0

    def test_the_table_agrees_with_scikit_learn(self):
        predictions = predictions_of("multilabel", label_sample())
        assert isinstance(predictions, LabelPredictions)
        table = per_label_table(predictions, [9] * 6, list("abcdef"))
        targets, decisions = predictions.targets, predictions.decisions
        precision, recall, f1, support = sk.precision_recall_fscore_support(
            targets, decisions, zero_division=np.nan
        )
        for k, row in enumerate(table):
            assert (row["name"], row["support"]) == ("abcdef"[k], support[k])
            found = [row["precision"], row["recall"], row["f1"]]
            assert found == pytest.approx([precision[k], recall[k], f1[k]], nan_ok=True)
        assert table[1]["average_precision"] == pytest.approx(
            sk.average_precision_score(targets[:, 1], predictions.probabilities[:, 1])
        )
        assert np.isnan(table[5]["average_precision"])

    def test_confusions_are_those_of_brute_force(self):
        predictions = predictions_of("multilabel", label_sample())
        assert isinstance(predictions, LabelPredictions)
        expected = np.zeros((6, 6), dtype=int)
        for true, given in zip(predictions.targets, predictions.decisions, strict=True):
            for missed in np.flatnonzero(true & ~given):
                for wrong in np.flatnonzero(given & ~true):
                    expected[missed, wrong] += 1
        assert np.array_equal(label_confusions(predictions), expected)
        assert expected.sum() > 20

    def test_the_best_constant_answer_is_that_of_all_sets_of_labels(self):
        targets = label_sample()["targets"]
        best = 0.0
        for size in range(1, 7):
            for chosen in combinations(range(6), size):
                given = np.zeros_like(targets)
                given[:, chosen] = 1
                best = max(best, sk.f1_score(targets, given, average="micro"))
        assert best_constant_f1(targets.astype(bool)) == pytest.approx(best)


class TestValues:
    @pytest.mark.parametrize("num_rows", [301, 300, 1])
    def test_agree_with_scikit_learn(self, num_rows):
        arrays = value_sample(num_rows)
        predictions, targets = arrays["predictions"], arrays["targets"]
        dummy = DummyRegressor().fit(targets[:, None], targets).predict(targets[:, None])
        expected = {
            "rmse": sk.root_mean_squared_error(targets, predictions),
            "mae": sk.mean_absolute_error(targets, predictions),
            "median_absolute_error": sk.median_absolute_error(targets, predictions),
            "r2": sk.r2_score(targets, predictions) if num_rows > 1 else np.nan,
            "mean_error": (predictions - targets).mean(),
            "rmse_of_mean": sk.root_mean_squared_error(targets, dummy),
        }
        found = metrics_of("regression", arrays, train_counts=())
        assert found == pytest.approx(expected, rel=1e-9, nan_ok=True)

    def test_equal_targets_have_no_variance_to_explain(self):
        arrays = {"predictions": np.array([0.1, 0.4]), "targets": np.array([0.3, 0.3])}
        found = metrics_of("regression", arrays, train_counts=())
        assert np.isnan(found["r2"]) and found["rmse_of_mean"] == 0


@pytest.mark.parametrize("objective", SAMPLES)
def test_weights_count_like_repeated_examples(objective):
    arrays = SAMPLES[objective](120)
    weights = np.random.default_rng(1).poisson(1.0, size=(4, 120)).astype(float)
    found = weighted_metrics(predictions_of(objective, arrays), ())(weights)
    for row, weight in enumerate(weights.astype(int)):
        again = {name: np.repeat(array, weight, axis=0) for name, array in arrays.items()}
        expected = metrics_of(objective, again, train_counts=())
        assert {name: value[row] for name, value in found.items()} == pytest.approx(expected)


@pytest.mark.parametrize("objective", SAMPLES)
def test_intervals_hold_the_metrics_and_groups_are_drawn_whole(objective):
    single = SAMPLES[objective](80)
    copies = {name: np.repeat(array, 10, axis=0) for name, array in single.items()}
    groups = np.repeat(np.arange(80), 10)
    values = metrics_of(objective, single, train_counts=())
    plain = intervals_of(objective, single, train_counts=(), resamples=200)
    grouped = intervals_of(objective, copies, train_counts=(), resamples=200, groups=groups)
    assert {name: one.value for name, one in plain.items()} == pytest.approx(values)
    for name, one in plain.items():
        assert [grouped[name].low, grouped[name].high] == pytest.approx([one.low, one.high])
        assert one.low < one.value < one.high


def test_the_interval_of_an_error_is_that_of_scipy():
    arrays = value_sample(250)
    ours = intervals_of("regression", arrays, train_counts=(), resamples=2000)
    for name, metric in (
        ("rmse", sk.root_mean_squared_error), ("median_absolute_error", sk.median_absolute_error),
    ):  # fmt: skip
        theirs = stats.bootstrap(
            (arrays["targets"], arrays["predictions"]),
            metric,
            paired=True,
            vectorized=False,
            n_resamples=500,
            method="percentile",
            rng=np.random.default_rng(5),
        ).confidence_interval
        assert [ours[name].low, ours[name].high] == pytest.approx(
            [theirs.low, theirs.high], abs=0.08
        )


def test_two_regressions_are_compared_on_the_same_rows():
    arrays = value_sample(400, noise=2.0)
    targets = arrays["targets"]
    first = ValuePredictions(arrays["predictions"], targets)
    noise = np.random.default_rng(8).normal(0, 1.0, 400)
    second = ValuePredictions(arrays["predictions"] + noise, targets)
    found = paired_bootstrap(first, second, train_counts=())["rmse"]
    expected = [sk.root_mean_squared_error(targets, one.predictions) for one in (first, second)]
    assert found.difference == pytest.approx(expected[0] - expected[1])
    assert found.low < found.difference < found.high < 0 and found.p < 0.01


def test_top5_accuracy_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    probabilities, targets = rng.dirichlet(np.ones(8), 200), rng.integers(0, 8, 200)
    arrays = {
        "probabilities": probabilities, "decisions": probabilities.argmax(axis=1),
        "targets": targets,
    }  # fmt: skip
    found = metrics_of("classification", arrays, train_counts=[9] * 8)
    expected = sk.top_k_accuracy_score(targets, probabilities, k=5)
    assert found["top5_accuracy"] == pytest.approx(expected)
    arrays["probabilities"] = np.full((200, 8), 1 / 8)
    found = metrics_of("classification", arrays, train_counts=[9] * 8)
    assert found["top5_accuracy"] == pytest.approx((targets < 5).mean())  # no free hits in ties
    five = {"probabilities": np.eye(5), "decisions": np.arange(5), "targets": np.arange(5)}
    assert "top5_accuracy" not in metrics_of("classification", five, train_counts=[9] * 5)


class TestDirections:
    @pytest.mark.parametrize(
        ("name", "good", "bad", "words"),
        [
            ("r2", 0.9, 0.7, "at least 0.8"),
            ("rmse", 0.7, 0.9, "at most 0.8"),
            ("hamming_loss", 0.7, 0.9, "at most 0.8"),
            ("mean_error", -0.7, -0.9, "at most 0.8 away from 0"),
            ("mean_error", 0.7, 0.9, "at most 0.8 away from 0"),
        ],
    )
    def test_of_a_bound(self, name, good, bad, words):
        assert is_met(name, good, 0.8) and is_met(name, 0.8, 0.8) and not is_met(name, bad, 0.8)
        assert requirement(name, 0.8) == words

    @pytest.mark.parametrize("objective", SAMPLES)
    def test_every_metric_is_in_the_table_and_errors_shrink_to_their_best(self, objective):
        arrays = SAMPLES[objective]()
        right = {name: arrays["targets"].astype(float) for name in arrays}
        worse, best = (metrics_of(objective, one, train_counts=()) for one in (arrays, right))
        for name, value in best.items():
            if METRICS[name].better is not None:
                assert is_met(name, value, worse[name]) and value != worse[name]

    @pytest.mark.parametrize(
        ("value", "words"),
        [(0.123456, "0.1235"), (-4659.3, "-4,659"), (206_855.8, "206,856"), (3e12, "3.000e+12"),
         (2e-7, "2.000e-07"), (0.0, "0.000"), (1.5, "1.500"), (999.96, "1,000")],
    )  # fmt: skip
    def test_numbers_of_any_size_are_readable(self, value, words):
        assert quantity(value) == words


@pytest.mark.parametrize(
    ("objective", "change", "message"),
    [
        ("regression", {"predictions": np.full(301, np.nan)}, "301 non-finite"),
        ("regression", {"predictions": np.ones(3)}, r"shape \(3,\) for 301 targets"),
        ("multilabel", {"probabilities": np.full((300, 6), 1.2)}, "not logits"),
        ("multilabel", {"probabilities": np.full((300, 6), np.nan)}, "not finite"),
        ("multilabel", {"probabilities": np.ones(300)}, "at least one row and one label"),
        ("multilabel", {"decisions": np.full((300, 6), 2)}, "each 0 or 1"),
        ("multilabel", {"targets": np.ones((300, 5))}, "300 rows of 6 labels"),
    ],
)
def test_wrong_input_is_refused_by_name(objective, change, message):
    with pytest.raises(InputError, match=message):
        metrics_of(objective, SAMPLES[objective]() | change, train_counts=())


def test_missing_arrays_are_named():
    with pytest.raises(InputError, match="needs the arrays predictions, targets; predictions not"):
        metrics_of("regression", {"targets": np.ones(3)}, train_counts=())
