"""The shared fields of the family for rare classes: what decisions are for, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score

import mlexpert
from mlexpert.blocks.decisions.argmax import Argmax
from mlexpert.blocks.decisions.cost_sensitive import CostSensitive
from mlexpert.blocks.decisions.macro_f1 import MacroF1
from mlexpert.blocks.decisions.prior_adjusted import PriorAdjusted
from mlexpert.blocks.decisions.rebalanced import Rebalanced
from mlexpert.blocks.decisions.threshold import Threshold
from mlexpert.cli import flags
from mlexpert.data.schema import Numeric, Schema
from mlexpert.errors import InputError
from mlexpert.recipe_card import Field
from mlexpert.recipes import get
from mlexpert.recipes.imbalanced_cls.plain import Plain
from mlexpert.recipes.imbalanced_cls.prior_adjusted import ImbalancedCls
from mlexpert.training.method import Batch
from mlexpert.training.methods.cross_entropy import CrossEntropy
from tests.small_data import table

pytestmark = pytest.mark.filterwarnings("ignore:leakage audit")


def schema(*classes: str) -> Schema:
    counts = tuple(range(90, 90 - 10 * len(classes), -10))
    column = Numeric("x", 0.0, 0.0, 1.0, tuple(np.linspace(-2, 2, 9).tolist()))
    return Schema("tabular", classes, classes, counts, columns=(column,), num_rows=sum(counts))


TWO, THREE = schema("no", "yes"), schema("a", "b", "c")
COST = [[0, 1], [9, 0]]


@pytest.mark.parametrize(
    ("data", "fields", "rule"),
    [
        (TWO, {}, PriorAdjusted),
        (TWO, {"decide_for": "f1"}, Threshold),
        (THREE, {"decide_for": "f1"}, MacroF1),
        (TWO, {"decide_for": "precision_at_recall", "at_least": 0.9}, Threshold),
        (TWO, {"decide_for": "cost", "cost": COST}, CostSensitive),
    ],
)
def test_the_rule_is_the_one_for_the_metric(data: Schema, fields: dict, rule: type) -> None:
    recipe = ImbalancedCls(**fields).settle(data)
    assert type(recipe.build(data).decide) is rule
    assert type(Plain(**fields).settle(data).build(data).decide) is (rule if fields else Argmax)


def test_a_method_on_another_prior_decides_as_it_was_trained() -> None:
    recipe = ImbalancedCls().settle(TWO)
    method = CrossEntropy(shift=0, flip=False)
    log_weight = torch.tensor([0.0, 4.0])  # of which half is expected to be in the logits
    parts = recipe.parts(TWO, recipe.network(TWO), method, log_weight=log_weight)
    assert type(parts.decide) is Rebalanced and parts.method is method
    logits = torch.tensor([[0.0, 1.0]])
    assert parts.decide.decide(logits).tolist() == [1]
    assert parts.decide.probabilities(logits)[0, 1] < 0.5
    scores = parts.evaluate(logits, torch.tensor([0]), None)
    assert scores["log_loss"] < 0.5 and scores["accuracy"] == 0.0


def test_images_are_moved_and_other_rows_are_not() -> None:
    images = Batch(torch.rand(4, 1, 6, 6), torch.zeros(4, dtype=torch.int64), torch.arange(4))
    assert torch.equal(ImbalancedCls().augmentation()(images).inputs, images.inputs)
    moved = ImbalancedCls(shift=2).augmentation()(images).inputs
    assert moved.shape == images.inputs.shape and not torch.equal(moved, images.inputs)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decide_for": "recall"}, "decide_for='recall'.*'balanced_accuracy', 'f1'"),
        ({"decide_for": "cost"}, "cost=None; it has to be given with decide_for='cost'"),
        ({"cost": COST}, "cost=.*has to be None with decide_for='balanced_accuracy'"),
        ({"decide_for": "precision_at_recall"}, "at_least=None.*given with"),
        ({"at_least": 0.9}, "at_least=0.9.*None with"),
        ({"decide_for": "precision_at_recall", "at_least": 1.5}, "at most 1"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImbalancedCls(**fields)


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        ([[0, 1]], "1 rows of 2 numbers.*a row for each true class"),
        ([[0, 1], [1]], "2 rows of 2, 1 numbers"),
        ([], "0 rows of no numbers"),
        ([0, 1], "2 rows of no numbers"),
        ([[0, -1], [1, 0]], r"cost\[0\]\[1\] is -1.*0 or more"),
        ([[0, 1], [float("nan"), 0]], r"cost\[1\]\[0\] is nan"),
        ([[0, "1"], [1, 0]], "is '1'"),
        ([[0, 1], [1, 2]], r"cost\[1\]\[1\] is 2, and deciding rightly costs 0"),
        ([[0, 0], [0, 0]], "all costs are 0"),
        ("cheap", "cost='cheap'.*it takes list or None"),
    ],
)
def test_costs_that_cannot_be_meant_are_refused(cost: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImbalancedCls(decide_for="cost", cost=cost)


def test_what_the_classes_do_not_allow_is_refused_with_their_names() -> None:
    with pytest.raises(InputError, match="2 rows and columns, and there are 3.*'a', 'b', 'c'"):
        ImbalancedCls(decide_for="cost", cost=COST).settle(THREE).build(THREE)
    recipe = ImbalancedCls(decide_for="recall_at_precision", at_least=0.5)
    with pytest.raises(InputError, match="between two classes, and there are 3: 'a', 'b', 'c'"):
        recipe.settle(THREE).build(THREE)


def test_costs_survive_json_and_the_command_line() -> None:
    recipe = ImbalancedCls(decide_for="cost", cost=np.array(COST, dtype=np.float32))  # type: ignore[arg-type]
    assert recipe.cost == COST
    assert ImbalancedCls(**json.loads(json.dumps(recipe.config()))) == recipe
    field = Field("cost", "list | None", None, "Costs.")
    assert flags.parse(field, "[[0, 1], [9, 0]]") == COST
    assert flags.parse(field, "none") is None
    with pytest.raises(InputError, match="cost.*takes list"):
        flags.parse(field, "[[0, 1")


def test_decisions_by_cost_are_reported_and_survive_saving(tmp_path: Path) -> None:
    data = table(300, seed=1)
    recipe = get(
        "imbalanced-cls", epochs=2, precision="fp32", decide_for="cost", cost=[[0, 1], [5, 0]]
    )
    fitted = recipe.fit(data, target="bought", run_dir=tmp_path / "run", progress=False)
    found = fitted.evaluate(data)
    truth, decided = data["bought"].to_numpy(), fitted.predict(data)
    paid = np.where(truth == decided, 0.0, np.where(truth == "yes", 5.0, 1.0))
    assert found["expected_cost"] == pytest.approx(paid.mean())
    assert {"expected_cost", "uncalibrated_ece"} <= fitted.evaluate().keys()
    tested = fitted.final_test(reason="a test")
    assert tested["intervals"]["expected_cost"][0] <= tested["expected_cost"]
    again = mlexpert.load(fitted.save(tmp_path / "model"))
    assert (again.predict(data) == decided).all()
    assert again.evaluate(data) == pytest.approx(found, nan_ok=True)
    page = fitted.report().read_text()
    assert "Mean cost of a decision" in page and "mean cost below" in page
    assert "ROC curve of the rarer class" in page
    assert "Selected epoch" in page and "Last epoch" in page


def test_f1_is_at_least_that_of_the_prior(tmp_path: Path) -> None:
    data = table(900, seed=2, rare=0.4)
    recipe = get("imbalanced-cls", epochs=2, precision="fp32", decide_for="f1", validation=0.4)
    fitted = recipe.fit(data, target="bought", run_dir=tmp_path / "run", progress=False)
    arrays = fitted._stored("validation")
    positive = list(fitted.classes_).index("yes")
    prior = fitted.schema.class_counts[positive] / sum(fitted.schema.class_counts)
    by_prior = arrays["probabilities"][:, positive] >= prior
    truth = arrays["targets"] == positive
    found = f1_score(truth, arrays["decisions"] == positive)
    assert found >= f1_score(truth, by_prior) - 1e-9
    assert fitted.facts["decision"]["threshold"] is not None
    assert "F1 of the rarer class" in fitted.report().read_text()


def parts_of(rows: pd.DataFrame, **changed: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {"train": rows.iloc[:120], "validation": rows.iloc[120:160], "test": rows.iloc[160:]} | (
        changed
    )


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_class_that_train_lacks_is_named_with_its_rows(part: str, tmp_path: Path) -> None:
    rows = table(200)
    strange = parts_of(rows)[part].assign(bought=lambda d: ["maybe"] * 3 + list(d["bought"][3:]))
    seen = rf"the {part} split holds 1 label.* that the train split lacks: 'maybe', in 3 row"
    with pytest.raises(InputError, match=seen):
        get("imbalanced-cls").fit(
            parts_of(rows, **{part: strange}), target="bought", run_dir=tmp_path, progress=False
        )


def test_a_class_of_a_single_row_is_named(tmp_path: Path) -> None:
    rows = table(200)
    rows.loc[0, "bought"] = "maybe"
    with pytest.raises(InputError, match="class 'maybe' has 1 rows in 1 distinct rows: too few"):
        get("imbalanced-cls").fit(rows, target="bought", run_dir=tmp_path, progress=False)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.full(200, -1.0), "200 weight.*negative"),
        (np.zeros(200), "weight 0 in all 200 rows"),
        (np.ones(199), r"shape \(199,\), and there are 200 rows"),
    ],
)
def test_weights_that_are_none_are_refused(
    weights: np.ndarray, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        get("imbalanced-cls").fit(
            table(200), target="bought", sample_weight=weights, run_dir=tmp_path, progress=False
        )
