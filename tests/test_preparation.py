"""Data of every objective, ready to be trained on: read, split or dealt into folds, described."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import pytest
import torch

from mlexpert.data.encode import encode_targets, encode_weights
from mlexpert.errors import InputError
from mlexpert.fitting.assembly import read_folds_for
from mlexpert.preparation import Prepared, Roles, prepare, prepare_folds
from mlexpert.recipe import Recipe
from tests.small_data import table


@dataclass(frozen=True, kw_only=True)
class Classes(Recipe):
    """Only what `prepare` asks of a recipe."""

    name: ClassVar[str] = "classes"
    version: ClassVar[int] = 1


@dataclass(frozen=True, kw_only=True)
class Values(Classes):
    """The same for numbers."""

    objective: ClassVar[Literal["classes", "values"]] = "values"


class Settled(Classes):
    """One that is as it is."""

    def settle(self, schema):
        return self


def facts_of(prepared: Prepared) -> dict:
    return json.loads(json.dumps(prepared.facts))


def test_numbers_are_prepared_by_a_recipe_for_numbers():
    frame = table()
    frame["income"] = frame["income"].fillna(0.0)
    prepared = prepare(Values(), frame, Roles("income"))
    assert prepared.schema.objective == "regression"
    facts = facts_of(prepared)
    assert facts["objective"] == "regression"
    assert facts["parts"] == {name: {"rows": n} for name, n in
                              (("train", 140), ("validation", 30), ("test", 30))}  # fmt: skip
    assert facts["target"] == "income"
    assert facts["weights"] is None
    with pytest.raises(InputError, match=r"regression target.*'tabular-reg'"):
        prepare(Classes(), frame, Roles("income"))
    with pytest.raises(InputError, match=r"'tabular-cls'"):
        prepare(Values(), frame, Roles("bought"))


def test_sets_of_labels_are_prepared():
    frame = table().assign(
        young=lambda rows: rows["age"] < 35, rich=lambda rows: rows["income"] > 20
    )
    roles = Roles(["young", "rich"], inputs=["city", "bought"])
    prepared = prepare(Classes(), frame, roles)
    facts = facts_of(prepared)
    assert facts["target"] == ["young", "rich"]
    assert facts["roles"]["target"] == ["young", "rich"]
    validation = encode_targets(prepared.splits.validation.targets, prepared.schema)
    assert facts["parts"]["validation"]["class_counts"] == validation.sum(0).tolist()
    assert facts["parts"]["train"]["class_counts"] == list(prepared.schema.class_counts)


@pytest.mark.parametrize("recipe", [Classes(seed=4), Values(seed=4)])
def test_folds_share_test_and_fingerprint_and_describe_their_own_rows(recipe):
    frame = table()
    roles = Roles("bought" if recipe.objective == "classes" else "age")
    plain = prepare(recipe, frame, roles)
    folds = prepare_folds(recipe, frame, roles, 4)
    assert len(folds) == 4
    rest = plain.facts["rows"] - len(plain.splits.test)
    rows = np.concatenate([fold.validation_rows for fold in folds])
    assert sorted(rows) == list(range(rest))
    assert plain.validation_rows is None
    for fold in folds:
        assert fold.facts["fingerprint"] == plain.facts["fingerprint"]
        assert fold.splits.test is folds[0].splits.test
        np.testing.assert_array_equal(fold.splits.test.digests, plain.splits.test.digests)
        assert fold.schema.num_rows == len(fold.splits.train) == rest - len(fold.validation_rows)
        assert fold.facts["how"].startswith("fold ")
    assert len({fold.schema for fold in folds}) == 4
    # Put back in order, what was validated on is all that is not test.
    outputs = np.empty(rest)
    for fold in folds:
        outputs[fold.validation_rows] = fold.splits.validation.inputs.index
    assert (np.diff(outputs) > 0).all()


def test_folds_are_refused_where_the_data_forbids_them():
    frame = table().assign(day=np.arange(200))
    with pytest.raises(InputError, match="which time= forbids"):
        prepare_folds(Classes(), frame, Roles("bought", time="day"), 3)


def test_weights_are_read_told_and_scaled_to_a_mean_of_one():
    weights = np.tile([0.0, 1.0, 3.0, 4.0], 50)
    for weight in (weights, "w"):
        frame = table() if isinstance(weight, np.ndarray) else table().assign(w=weights)
        prepared = prepare(Classes(), frame, Roles("bought", sample_weight=weight))
        assert prepared.splits.train.weights.min() == 1
        assert prepared.facts["inputs"] == ["age", "income", "city"]
        facts = facts_of(prepared)
        assert (facts["weights"]["low"], facts["weights"]["high"]) == (1.0, 4.0)
        assert facts["roles"]["sample_weight"] == (weight if isinstance(weight, str) else None)
        encoded = encode_weights(prepared.splits.train.weights)
        assert encoded.dtype == torch.float32
        assert encoded.mean() == pytest.approx(1.0, abs=1e-6)
        assert encoded.max() / encoded.min() == pytest.approx(4.0)
    assert encode_weights(None) is None


def test_other_weights_have_another_name():
    names = {
        prepare(Classes(), table(), Roles("bought", sample_weight=weights)).facts["weights"][
            "digest"
        ]
        for weights in (np.arange(1, 201), np.arange(1, 201)[::-1])
    }
    assert len(names) == 2


@pytest.mark.parametrize("folds", [None, 3])
def test_every_weight_that_a_fit_looks_at_is_in_their_name(folds):
    def prepared(weights):
        roles = Roles("bought", sample_weight=weights)
        if folds is None:
            return prepare(Classes(test=0), table(), roles)
        return prepare_folds(Classes(test=0), table(), roles, folds)[0]

    weights = np.random.default_rng(0).uniform(1, 2, 200)
    weights[:40] = 0
    splits = prepared(weights).splits
    validation = splits.validation.inputs.index
    of_validation, of_another_row = weights.copy(), weights.copy()
    of_validation[validation[-1]] = 9
    # The same numbers in the same order: only the row that is left out is another one.
    counted, left_out = splits.train.inputs.index[0], max(set(range(40)) - set(validation))
    of_another_row[[counted, left_out]] = of_another_row[[left_out, counted]]
    cases = (weights, of_validation, of_another_row)
    assert len({prepared(case).facts["weights"]["digest"] for case in cases}) == 3


def test_names_of_columns_in_an_array_can_be_written_down():
    for names in (np.array(["age", "city"]), pd.Index(["age", "city"]), ("age", "city")):
        facts = facts_of(prepare(Classes(), table(), Roles("bought", inputs=names)))
        assert facts["roles"]["inputs"] == facts["inputs"] == ["age", "city"]


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"target": 3}, r"target=3; it takes names .*\('3'\); columns: 'age'"),
        ({"target": "bought", "inputs": 0}, "inputs=0; it takes names of columns"),
        ({"target": "bought", "group": ["city"]}, r"group=\['city'\]; it takes the name of one"),
        ({"target": "bought", "time": 2}, "time=2; it takes the name of one column"),
    ],
)
def test_what_names_no_column_is_refused(roles, message):
    with pytest.raises(InputError, match=message):
        prepare(Classes(), table(), Roles(**roles))


def test_folds_train_on_no_row_of_the_users_own_test():
    rows, other = table(240), table(60, seed=9)
    roles = Roles("bought")
    for row in range(6):
        test = pd.concat([other, rows.iloc[[row]]])
        ds = {"train": rows, "test": test}
        with pytest.raises(InputError, match="rows of test occur in train"):
            read_folds_for(Classes(), ds, roles, "refuse", 3)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        read_folds_for(Settled(), ds, roles, "report", 3)
    assert any("rows of test occur in train" in str(one.message) for one in said)


def test_columns_that_say_nothing_are_noted():
    frame = table().assign(same=1, none=None, day=pd.Timestamp("2024-01-01"))
    notes = " ".join(prepare(Classes(), frame, Roles("bought")).facts["notes"])
    assert "'same', 'day' have one and the same value" in notes
    assert "'none' have no value" in notes
    assert "'day' hold dates" in notes
