from __future__ import annotations

import numpy as np
import pytest
import torch
import torchmetrics
from imblearn.metrics import geometric_mean_score
from sklearn import metrics as sk

from mlexpert.errors import InputError
from mlexpert.evidence.curves import precision_recall, reliability
from mlexpert.evidence.metric_table import METRICS
from mlexpert.evidence.metrics import (
    WeightedMetrics,
    classification_metrics,
    confusion_matrix,
    per_class_table,
    shot_masks,
)
from mlexpert.evidence.predictions import Predictions

COUNTS = {2: [50, 900], 5: [500, 101, 100, 20, 19]}


def sample(num_classes: int, num_examples: int = 600, seed: int = 0, ties: bool = False):
    """Return imperfect probabilities, decisions that differ from argmax, and targets."""
    rng = np.random.default_rng(seed)
    prior = np.array(COUNTS[num_classes]) / sum(COUNTS[num_classes])
    targets = np.concatenate(
        [
            np.arange(num_classes).repeat(3),
            rng.choice(num_classes, num_examples - 3 * num_classes, p=prior),
        ]
    )
    logits = rng.normal(size=(num_examples, num_classes)) + np.log(prior)
    logits[np.arange(num_examples), targets] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if ties:
        probabilities = np.round(probabilities * 8) + 0.05
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    decisions = (np.log(probabilities) - np.log(prior)).argmax(axis=1)
    return probabilities, decisions, targets


def all_metrics(num_classes: int, **options) -> dict[str, float]:
    return classification_metrics(*sample(num_classes, **options), train_counts=COUNTS[num_classes])


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_agrees_with_scikit_learn(num_classes, ties):
    probabilities, decisions, targets = sample(num_classes, ties=ties)
    values = classification_metrics(
        probabilities, decisions, targets, train_counts=COUNTS[num_classes]
    )
    argmax = probabilities.argmax(axis=1)
    truth = np.eye(num_classes)[targets]
    expected = {
        "accuracy": sk.accuracy_score(targets, decisions),
        "balanced_accuracy": sk.balanced_accuracy_score(targets, decisions),
        "macro_f1": sk.f1_score(targets, decisions, average="macro"),
        "mcc": sk.matthews_corrcoef(targets, decisions),
        "log_loss": sk.log_loss(targets, probabilities),
        "worst_class_recall": sk.recall_score(targets, decisions, average=None).min(),
        "argmax_accuracy": sk.accuracy_score(targets, argmax),
        "argmax_balanced_accuracy": sk.balanced_accuracy_score(targets, argmax),
        "argmax_macro_f1": sk.f1_score(targets, argmax, average="macro"),
        "brier": ((probabilities - truth) ** 2).sum(axis=1).mean(),
    }
    if num_classes == 2:  # the rarer class in training is class 0
        expected["roc_auc"] = sk.roc_auc_score(targets == 0, probabilities[:, 0])
        expected["pr_auc"] = sk.average_precision_score(targets == 0, probabilities[:, 0])
        expected["brier"] = sk.brier_score_loss(targets == 0, probabilities[:, 0])
    else:
        expected["roc_auc"] = sk.roc_auc_score(targets, probabilities, multi_class="ovr")
        expected["pr_auc"] = sk.average_precision_score(truth, probabilities, average="macro")
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("num_classes", [2, 5])
def test_g_mean_agrees_with_imbalanced_learn(num_classes):
    _, decisions, targets = sample(num_classes)
    expected = geometric_mean_score(targets, decisions, average="multiclass")
    assert 0 < expected < 1
    assert all_metrics(num_classes)["g_mean"] == pytest.approx(expected)


@pytest.mark.parametrize("num_classes", [2, 5])
def test_calibration_error_agrees_with_torchmetrics(num_classes):
    probabilities, _, targets = sample(num_classes)
    if num_classes == 2:
        reference = torchmetrics.classification.BinaryCalibrationError(n_bins=15)
        expected = reference(torch.tensor(probabilities[:, 0]), torch.tensor(targets == 0).long())
    else:
        reference = torchmetrics.classification.MulticlassCalibrationError(num_classes, n_bins=15)
        expected = reference(torch.tensor(probabilities), torch.tensor(targets))
    assert all_metrics(num_classes)["ece"] == pytest.approx(float(expected), abs=1e-6)
    curve = reliability(probabilities, targets, train_counts=COUNTS[num_classes])
    assert curve.ece == pytest.approx(float(expected), abs=1e-6)
    assert curve.counts.sum() == len(targets)


def test_a_certain_and_right_classifier_is_calibrated_and_perfect():
    targets = np.array([0, 1, 2, 2])
    values = classification_metrics(np.eye(3)[targets], targets, targets, train_counts=[200, 50, 5])
    assert len(values) == 17
    for name, value in values.items():
        best = 1.0 if METRICS[name].better == "higher" else 0.0
        assert value == pytest.approx(best, abs=1e-6), name


def test_shot_groups_split_at_more_than_100_and_fewer_than_20_training_rows():
    masks = {name: list(np.flatnonzero(m)) for name, m in shot_masks(np.array(COUNTS[5])).items()}
    assert masks == {"many_shot": [0, 1], "medium_shot": [2, 3], "few_shot": [4]}
    _, decisions, targets = sample(5)
    recall = sk.recall_score(targets, decisions, average=None)
    values = all_metrics(5)
    assert values["many_shot"] == pytest.approx(recall[:2].mean())
    assert values["medium_shot"] == pytest.approx(recall[2:4].mean())
    assert values["few_shot"] == pytest.approx(recall[4])


def test_what_is_undefined_is_nan_and_never_zero():
    probabilities, _, _ = sample(5)
    ones = np.ones(len(probabilities), dtype=int)
    values = classification_metrics(probabilities, ones, ones, train_counts=[300] * 5)
    undefined = {name for name, value in values.items() if np.isnan(value)}
    assert undefined == {"mcc", "roc_auc", "medium_shot", "few_shot"}
    assert values["accuracy"] == values["balanced_accuracy"] == 1.0
    row = per_class_table(probabilities, ones, ones, [300] * 5, list("abcde"))[0]
    assert all(np.isnan(row[key]) for key in ("precision", "recall", "f1", "pr_auc"))


def test_recall_of_an_absent_class_is_left_out_of_the_means():
    probabilities, decisions, targets = sample(5)
    keep = targets != 4
    values = classification_metrics(
        probabilities[keep], decisions[keep], targets[keep], train_counts=COUNTS[5]
    )
    recall = sk.recall_score(targets, decisions, average=None)[:4]
    assert values["balanced_accuracy"] == pytest.approx(recall.mean())
    assert values["worst_class_recall"] == pytest.approx(recall.min())
    assert values["macro_f1"] == pytest.approx(
        sk.f1_score(targets[keep], decisions[keep], average="macro", zero_division=0)
    )
    assert np.isnan(values["few_shot"])


@pytest.mark.parametrize("num_classes", [2, 5])
def test_weights_count_like_repeated_examples(num_classes):
    probabilities, decisions, targets = sample(num_classes, num_examples=200, ties=True)
    weights = np.random.default_rng(1).poisson(1.0, size=(3, 200)).astype(float)
    found = WeightedMetrics(Predictions(probabilities, decisions, targets), COUNTS[num_classes])(
        weights
    )
    for row, weight in enumerate(weights.astype(int)):
        again = np.repeat(np.arange(200), weight)
        expected = classification_metrics(
            probabilities[again],
            decisions[again],
            targets[again],
            train_counts=COUNTS[num_classes],
        )
        actual = {name: value[row] for name, value in found.items()}
        assert actual == pytest.approx(expected, nan_ok=True)


def test_per_class_table_agrees_with_scikit_learn():
    probabilities, decisions, targets = sample(5)
    table = per_class_table(probabilities, decisions, targets, COUNTS[5], list("abcde"))
    precision, recall, f1, support = sk.precision_recall_fscore_support(targets, decisions)
    average = sk.average_precision_score(np.eye(5)[targets], probabilities, average=None)
    for k, row in enumerate(table):
        assert (row["name"], row["train_count"]) == ("abcde"[k], COUNTS[5][k])
        assert row["support"] == support[k]
        assert row["decided"] == (decisions == k).sum()
        found = [row["precision"], row["recall"], row["f1"], row["pr_auc"]]
        assert found == pytest.approx([precision[k], recall[k], f1[k], average[k]])
    assert [row["shot"] for row in table] == ["many", "many", "medium", "medium", "few"]


def test_confusion_matrix_has_truth_in_rows():
    _, decisions, targets = sample(5)
    expected = sk.confusion_matrix(targets, decisions)
    assert np.array_equal(confusion_matrix(decisions, targets, 5), expected)
    assert not np.array_equal(expected, expected.T)


def test_precision_recall_curve_agrees_with_scikit_learn():
    probabilities, _, targets = sample(2, ties=True)
    curve = precision_recall(probabilities[:, 0], targets == 0)
    precision, recall, thresholds = sk.precision_recall_curve(targets == 0, probabilities[:, 0])
    assert np.allclose(curve.precision, precision[:-1][::-1])
    assert np.allclose(curve.recall, recall[:-1][::-1])
    assert np.allclose(curve.thresholds, thresholds[::-1])
    assert curve.prevalence == pytest.approx((targets == 0).mean())
    assert len(precision_recall(np.ones(4), np.zeros(4, dtype=bool)).recall) == 0


GOOD = np.full((4, 2), 0.5)
LABELS = np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": np.full((4, 1), 1.0)}, "two classes"),
        ({"probabilities": np.empty((0, 2)), "targets": LABELS[:0]}, "at least one row"),
        ({"probabilities": np.array([[3.0, -2.0]] * 4)}, "negative"),
        ({"probabilities": np.full((4, 2), np.nan)}, "non-finite"),
        ({"probabilities": np.full((4, 2), 2.0)}, "not logits"),
        ({"targets": np.array([0, 1, 2, 0])}, "targets run from 0 to 2"),
        ({"targets": np.array([0.0, 1.0, 0.0, 1.0])}, "float64"),
        ({"decisions": np.array([0, -1, 0, 0])}, "decisions run from -1"),
        ({"decisions": np.array([0, 1])}, "expected 4 class indices"),
        ({"train_counts": [1, 2, 3]}, "expected 2 counts"),
    ],
)
def test_wrong_input_is_refused_by_name(change, message):
    good = {
        "probabilities": GOOD,
        "decisions": LABELS,
        "targets": LABELS,
        "train_counts": [5, 5],
    }
    with pytest.raises(InputError, match=message):
        classification_metrics(**{**good, **change})
