"""What every classifier shares: weights of classes, and parts for each kind of target."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from mlexpert.blocks.decisions.argmax import Argmax
from mlexpert.blocks.decisions.identity import Identity
from mlexpert.blocks.decisions.label_thresholds import LabelThresholds
from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.cli import flags
from mlexpert.data.schema import Schema, ValueStats
from mlexpert.errors import InputError
from mlexpert.families.classifier import ClassifierRecipe, regression_parts
from mlexpert.recipe_card import Field

CLASSES = Schema("tabular", ("no", "perhaps", "yes"), ("No", "Perhaps", "Yes"), (60, 30, 10))
LABELS = replace(CLASSES, objective="multilabel", num_rows=80)
VALUES = Schema("tabular", (), (), (), "regression", 100, ValueStats(50.0, 4.0, 40.0, 61.0))
FIELD = Field("class_weight", "Literal['balanced'] | dict | None", None, "")
LOGITS = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True, kw_only=True)
class Small(ClassifierRecipe):
    name: ClassVar[str] = "small"
    version: ClassVar[int] = 1


def class_weight_of(**fields: Any) -> torch.Tensor:
    loss = Small(**fields).objective_parts(CLASSES).loss
    assert isinstance(loss, torch.nn.Module)
    return loss.get_buffer("class_weight")


def test_balanced_is_sklearns() -> None:
    targets = np.repeat([0, 1, 2], CLASSES.class_counts)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=targets)
    np.testing.assert_allclose(class_weight_of(class_weight="balanced"), expected, rtol=1e-6)


def test_only_the_ratios_of_weights_matter_and_their_mean_over_rows_is_one() -> None:
    first = class_weight_of(class_weight={"no": 1, "perhaps": 2, "yes": 8.0})
    second = class_weight_of(class_weight={"yes": 80, "no": 10, "perhaps": 20})
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(first / first[0], torch.tensor([1.0, 2.0, 8.0]))
    assert first @ torch.tensor(CLASSES.class_counts).float() == pytest.approx(100)


def test_no_weights_leave_the_loss_as_it_is() -> None:
    what = Small(label_smoothing=0.1).objective_parts(CLASSES)
    targets = torch.arange(20) % 3
    expected = cross_entropy(LOGITS, targets, label_smoothing=0.1)
    assert torch.equal(what.loss(LOGITS, targets), expected)
    assert isinstance(what.decide, Argmax) and what.decide.log_weight is None
    assert what.evaluate(LOGITS, targets, None)[what.monitor] > 0


def test_decisions_are_weighted_and_probabilities_are_not() -> None:
    what = Small(class_weight="balanced").objective_parts(CLASSES)
    prior = torch.tensor(CLASSES.class_counts) / 100
    logits = (prior * (1 / prior)).log().expand(5, 3)  # a model that learned nothing else
    torch.testing.assert_close(what.decide.probabilities(logits), prior.expand(5, 3))
    rare = LOGITS + torch.tensor([0.0, 0.0, 1.0])
    assert torch.equal(what.decide.decide(rare), rare.argmax(1))
    # The learning curve is of the loss that is trained, so the rows of a class weigh as much there.
    targets = torch.arange(20) % 3
    losses = what.loss(LOGITS, targets)
    weight = class_weight_of(class_weight="balanced")[targets]
    scores = what.evaluate(LOGITS, targets, None)
    assert scores["log_loss"] == pytest.approx((losses.sum() / weight.sum()).item(), rel=1e-5)


def test_labels_and_numbers_have_parts_of_their_own() -> None:
    what = Small(label_smoothing=0.2).objective_parts(LABELS)
    assert isinstance(what.decide, LabelThresholds)
    targets = (LOGITS > 0).float()
    assert what.loss(LOGITS, targets).shape == (20,)
    assert what.decide.decide(LOGITS).shape == (20, 3)
    assert what.evaluate(LOGITS, targets, torch.ones(20))[what.monitor] > 0
    what = regression_parts(VALUES)
    assert isinstance(what.decide, Identity)
    outputs = torch.zeros(20, 1)
    assert what.loss(outputs, torch.ones(20)).tolist() == [1.0] * 20
    assert what.decide.decide(outputs).tolist() == [50.0] * 20
    assert what.evaluate(outputs, torch.ones(20), None)[what.monitor] == 1.0


def test_labels_have_no_class_weights() -> None:
    with pytest.raises(InputError, match="class_weight='balanced'.*several labels"):
        Small(class_weight="balanced").objective_parts(LABELS)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"no": 1, "perhaps": 1, "yse": 3}, r"'yse'.*'no', 'perhaps', 'yes'.*Did you mean 'yes'"),
        ({"no": 1, "yes": 3}, "nothing of 'perhaps'"),
        ({}, "nothing of 'no', 'perhaps', 'yes'"),
    ],
)
def test_weights_of_other_classes_are_refused(weights: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Small(class_weight=weights).objective_parts(CLASSES)


@pytest.mark.parametrize("weight", [0, -1.0, float("nan"), float("inf"), "3", None, True])
def test_weights_that_cannot_be_meant_are_refused(weight: Any) -> None:
    with pytest.raises(InputError, match="class_weight=.*finite number above 0"):
        Small(class_weight={"no": 1.0, "yes": weight})


@pytest.mark.parametrize("value", ["auto", 3, [1, 2], ("no", 1)])
def test_what_is_no_mapping_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="class_weight=.*it takes 'balanced' or dict or None"):
        Small(class_weight=value)


@pytest.mark.parametrize("value", [1.0, -0.1, 2])
def test_smoothing_that_cannot_be_meant_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="label_smoothing=.*below 1"):
        Small(label_smoothing=value)


@pytest.mark.parametrize("labels", [(0, 1, 2), (False, True), (0.5, 1.5), ("a", "b")])
def test_labels_of_any_type_survive_json(labels: tuple) -> None:
    array = np.asarray(labels)
    weights = dict(zip(array, np.arange(1, len(array) + 1, dtype=np.float32), strict=True))
    recipe = Small(class_weight=weights)
    again = Small(**json.loads(json.dumps(recipe.config())))
    assert again == recipe
    schema = replace(CLASSES, classes=labels, class_counts=(10,) * len(labels))
    expected = torch.arange(1.0, len(labels) + 1)
    found = again.objective_parts(schema).loss.get_buffer("class_weight")  # type: ignore[attr-defined]
    torch.testing.assert_close(found, expected / expected.mean())


def test_the_command_line_takes_weights() -> None:
    assert flags.parse(FIELD, "balanced") == "balanced"
    assert flags.parse(FIELD, "none") is None
    assert flags.parse(FIELD, '{"no": 1, "yes": 2.5}') == {"no": 1, "yes": 2.5}
    set_by_name = flags.values((FIELD,), {"class_weight": None}, ['class_weight={"no": 1}'])
    assert set_by_name == {"class_weight": {"no": 1}}
    with pytest.raises(InputError, match="class_weight.*takes.*balanced.*dict.*got 'no=1'"):
        flags.parse(FIELD, "no=1")
