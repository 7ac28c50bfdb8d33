"""Costs, the ROC curve and the error before calibration, against sklearn and imblearn."""

from __future__ import annotations

import numpy as np
import pytest
from imblearn.metrics import geometric_mean_score
from sklearn.metrics import confusion_matrix, roc_auc_score, roc_curve

from mlexpert.errors import InputError
from mlexpert.evidence.curves import roc
from mlexpert.evidence.objectives import metrics_of
from mlexpert.evidence.predictions import Predictions

RNG = np.random.default_rng(0)
TARGETS = RNG.integers(3, size=200)
P = RNG.dirichlet([1, 1, 1], size=200) * 0.5 + 0.5 * np.eye(3)[TARGETS]
COST = np.array([[0.0, 2.0, 1.0], [4.0, 0.0, 1.0], [20.0, 3.0, 0.0]])
ARRAYS = {"probabilities": P, "decisions": RNG.integers(3, size=200), "targets": TARGETS}
COUNTS = [150, 60, 30]


def test_the_mean_cost_is_that_of_the_confusion_matrix() -> None:
    found = metrics_of("classification", {**ARRAYS, "cost": COST}, train_counts=COUNTS)
    expected = (confusion_matrix(TARGETS, ARRAYS["decisions"]) * COST).sum() / 200
    assert found["expected_cost"] == pytest.approx(expected)
    assert found["g_mean"] == pytest.approx(geometric_mean_score(TARGETS, ARRAYS["decisions"]))
    assert np.isnan(found["few_shot"])  # no class has so few rows: undefined, and not 0
    with pytest.raises(InputError, match=r"cost has shape \(2, 2\) for 3 classes"):
        Predictions(P, ARRAYS["decisions"], TARGETS, cost=np.eye(2))


def test_the_error_before_calibration_is_that_of_those_probabilities() -> None:
    raw = RNG.dirichlet([1, 1, 1], size=200)
    found = metrics_of("classification", {**ARRAYS, "uncalibrated": raw}, train_counts=COUNTS)
    alone = metrics_of("classification", {**ARRAYS, "probabilities": raw}, train_counts=COUNTS)
    assert found["uncalibrated_ece"] == alone["ece"] != found["ece"]
    assert "uncalibrated_ece" not in alone and "expected_cost" not in alone


def test_the_roc_curve_is_sklearns() -> None:
    scores, positive = P[:, 0].round(1), TARGETS == 0  # with ties
    curve = roc(scores, positive)
    rates, recalls, _ = roc_curve(positive, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.false_positive_rate, rates)
    np.testing.assert_allclose(curve.recall, recalls)
    area = np.trapezoid(curve.recall, curve.false_positive_rate)
    assert area == pytest.approx(roc_auc_score(positive, scores))
