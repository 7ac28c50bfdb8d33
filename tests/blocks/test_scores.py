"""Scores of the learning curves against sklearn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor

from mlexpert.blocks.scores import classification_scores, multilabel_scores, regression_scores

torch.manual_seed(0)
LOGITS, TARGETS = 3 * torch.randn(300, 4), torch.randint(4, (300,))
LABELS = torch.bernoulli(LOGITS.sigmoid())
WEIGHTS = [None, torch.rand(300, dtype=torch.float64) + 0.1, torch.arange(300) % 3.0]
some_weights = pytest.mark.parametrize("weights", WEIGHTS)


def shifted(logits: Tensor) -> Tensor:
    return (logits + torch.tensor([0.0, 1.0, 0.0, -1.0])).argmax(1)


@some_weights
def test_classes_equal_sklearn(weights: Tensor | None) -> None:
    found = classification_scores(LOGITS, TARGETS, weights, decide=shifted)
    share = {"sample_weight": None if weights is None else weights.numpy()}
    p = LOGITS.double().softmax(1).numpy()
    labels, decided = TARGETS.numpy(), shifted(LOGITS).numpy()
    expected = {
        "log_loss": metrics.log_loss(labels, p, labels=range(4), **share),
        "accuracy": metrics.accuracy_score(labels, decided, **share),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, decided, **share),
        "argmax_balanced_accuracy": metrics.balanced_accuracy_score(labels, p.argmax(1), **share),
    }
    calibrated = found.pop("calibrated_log_loss")
    assert found == pytest.approx(expected, rel=1e-5)
    # Targets at random: the best temperature is high, and leaves about the loss of a guess.
    assert calibrated < found["log_loss"] - 1.0
    assert calibrated == pytest.approx(math.log(4), abs=0.05)


def test_class_weights_weigh_the_log_losses_alone() -> None:
    weight = torch.tensor([0.5, 1.0, 2.0, 4.0])
    plain = classification_scores(LOGITS, TARGETS, decide=shifted)
    found = classification_scores(LOGITS, TARGETS, decide=shifted, class_weight=weight)
    by_row = classification_scores(LOGITS, TARGETS, weight[TARGETS], decide=shifted)
    for name, value in found.items():
        assert value == (by_row if name.endswith("log_loss") else plain)[name]
    twice = classification_scores(
        LOGITS, TARGETS, torch.full((300,), 2.0), decide=shifted, class_weight=weight
    )
    assert twice == pytest.approx(found, rel=1e-5)


@some_weights
def test_labels_equal_sklearn(weights: Tensor | None) -> None:
    def decide(logits: Tensor) -> Tensor:
        return logits > 1.0

    found = multilabel_scores(LOGITS, LABELS, weights, decide=decide)
    share = {"sample_weight": None if weights is None else weights.numpy()}
    p, labels, decided = LOGITS.double().sigmoid().numpy(), LABELS.numpy(), LOGITS.numpy() > 1.0
    expected = {
        "log_loss": np.mean([metrics.log_loss(labels[:, k], p[:, k], **share) for k in range(4)]),
        "subset_accuracy": metrics.accuracy_score(labels, decided, **share),
        "micro_f1": metrics.f1_score(labels, decided, average="micro", **share),
        "macro_f1": metrics.f1_score(labels, decided, average="macro", **share),
    }
    calibrated = found.pop("calibrated_log_loss")
    assert found == pytest.approx(expected, rel=1e-5)
    assert calibrated == pytest.approx(found["log_loss"], rel=0.02)  # the logits are the truth


def test_a_label_that_nobody_has_is_left_out() -> None:
    logits, none = torch.full((5, 1), -2.0), torch.zeros(5, 1)
    found = multilabel_scores(
        torch.cat([logits, -logits], 1), torch.cat([none, 1 - none], 1), decide=lambda z: z > 0
    )
    assert found["macro_f1"] == found["micro_f1"] == 1.0
    assert multilabel_scores(logits, none, decide=lambda z: z > 0)["macro_f1"] == 1.0


@some_weights
@pytest.mark.parametrize("members", [1, 3])
def test_numbers_equal_sklearn(members: int, weights: Tensor | None) -> None:
    outputs, targets = LOGITS[:, :members].unsqueeze(2), LOGITS[:, 3] + 0.1 * LOGITS[:, 0]
    found = regression_scores(outputs[:, 0] if members == 1 else outputs, targets, weights)
    share = {"sample_weight": None if weights is None else weights.numpy()}
    mean = outputs.double().mean(dim=(1, 2)).numpy()
    assert found == pytest.approx(
        {
            "squared_error": metrics.mean_squared_error(targets, mean, **share),
            "rmse": metrics.root_mean_squared_error(targets, mean, **share),
            "r2": metrics.r2_score(targets, mean, **share),
        },
        rel=1e-6,
    )
    assert regression_scores(targets.unsqueeze(1), torch.ones(300))["r2"] == 0.0


def test_members_are_scored_by_their_mean_probability() -> None:
    members = torch.stack([LOGITS, 0.5 * LOGITS], 1)
    mean = members.softmax(2).mean(1).log()
    found = classification_scores(members, TARGETS, decide=lambda z: z.softmax(2).sum(1).argmax(1))
    alike = classification_scores(mean, TARGETS, decide=lambda z: z.argmax(1))
    for name in ("log_loss", "accuracy", "balanced_accuracy", "argmax_balanced_accuracy"):
        assert found[name] == pytest.approx(alike[name], rel=1e-5)


def test_what_is_not_finite_is_a_score_that_is_not() -> None:
    wrong = torch.where(torch.arange(4) == 1, torch.nan, LOGITS)
    for scores in (
        classification_scores(wrong, TARGETS, decide=lambda z: z.argmax(1)),
        multilabel_scores(wrong, LABELS, decide=lambda z: z > 0),
    ):
        assert math.isnan(scores["calibrated_log_loss"]) and math.isnan(scores["log_loss"])
    assert math.isnan(regression_scores(wrong[:, 1:2], LOGITS[:, 0])["rmse"])
