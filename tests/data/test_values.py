"""Numbers as targets, and weights of rows: how they are read, and what is refused."""

from __future__ import annotations

import decimal
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from mlexpert.data.as_trained import read_labelled
from mlexpert.data.encode import encode_targets
from mlexpert.data.intake import read
from mlexpert.data.schema import ValueStats, describe
from mlexpert.errors import InputError

N = 12
X = np.arange(2.0 * N).reshape(N, 2)
Y = np.linspace(-3, 9, N) ** 2


@pytest.mark.parametrize(
    "values",
    [
        Y,
        Y.astype(np.float32),
        Y.tolist(),
        Y[:, None],
        torch.from_numpy(Y),
        pd.Series(Y, index=range(50, 50 + N)),
        [decimal.Decimal(value) for value in Y],
        pd.array(Y, dtype="Float64"),
        np.round(Y).astype(np.int32),
    ],
)
def test_numbers_are_read_as_float64_and_standardised(values):
    examples = read((X, values), objective="values")["all"]
    assert examples.objective == "regression"
    assert examples.targets.dtype == np.float64
    plain = np.asarray(values, dtype=np.float64).ravel()
    np.testing.assert_array_equal(examples.targets, plain)
    schema = describe(examples.select(np.arange(N), part="train"))
    assert (schema.classes, schema.class_counts, schema.num_outputs) == ((), (), 1)
    assert schema.values == ValueStats(plain.mean(), plain.std(), plain.min(), plain.max())
    assert schema.num_examples == N
    encoded = encode_targets(examples.targets, schema)
    assert encoded.dtype == torch.float32
    expected = StandardScaler().fit_transform(plain[:, None])[:, 0]
    np.testing.assert_allclose(encoded, expected, rtol=1e-5, atol=1e-6)
    rows = read_labelled((X[:3], values[:3]), schema=schema, target="y")
    np.testing.assert_array_equal(rows.targets, plain[:3])


class Pairs(torch.utils.data.Dataset):
    def __len__(self):
        return N

    def __getitem__(self, i):
        return torch.tensor(X[i]), torch.tensor([Y[i]])


def test_a_torch_dataset_may_hold_vectors_of_one_number():
    np.testing.assert_array_equal(read(Pairs(), objective="values")["all"].targets, Y)


def with_target(values) -> pd.DataFrame:
    return pd.DataFrame({"x": X[:, 0], "price": pd.Series(values)})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["dear", "cheap"] * 6, "such as 'dear', and numbers .*pandas.to_numeric.*'tabular-cls'"),
        (list(map(str, Y)), "such as '9.0'.*pandas.to_numeric"),
        ([1.5, "2"] * 6, "such as '2'"),
        ([True, False] * 6, "holds booleans.*'tabular-cls'"),
        ([1.5, True] * 6, "holds booleans"),
        (pd.Categorical(["a", "b"] * 6), "such as 'a'"),
        (pd.date_range("2024", periods=N), "such as Timestamp"),
        ([1.0, None] * 6, "lacks a number in 6 of 12 rows .first rows: 1, 3"),
        ([1.0, np.inf] * 6, "holds 6 infinite .*first in row 1"),
        ([1.0, 1e300] * 6, "holds 6 infinite .or beyond 32 bits"),
        ([4] * N, "holds the same number, 4.0, in all 12 rows"),
        ([1 + 2j, 3] * 6, "complex"),
        ([[1.0], [2.0, 3.0]] * 6, "several values in a row, and one number is to be predicted"),
    ],
)
def test_what_is_no_number_to_predict_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        read(with_target(values), target="price", objective="values")


def test_several_columns_are_no_number():
    with pytest.raises(
        InputError, match=r"y has shape \(12, 2\): give one label .or number. a row"
    ):
        read((X, X), objective="values")
    frame = with_target(Y).assign(b=1)
    with pytest.raises(InputError, match="one number is to be predicted"):
        read(frame, target=["price", "b"], objective="values")


def test_texts_learn_classes_by_another_recipe():
    texts = [f"this is text number {i} of twelve" for i in range(N)]
    with pytest.raises(InputError, match="the recipe 'text-cls'"):
        read((texts, ["a", "b"] * 6), objective="values")


def test_classes_that_are_numbers_name_the_recipe_for_numbers():
    with pytest.raises(InputError, match="regression target.*the recipe 'tabular-reg'"):
        read(with_target(Y / 7), target="price")
    many = pd.DataFrame({"x": np.zeros(99), "y": np.arange(99) // 2})
    with pytest.raises(InputError, match="50 different numbers.*'tabular-reg'"):
        read(many)


def test_evaluating_numbers_on_labels_is_refused():
    rows = read(with_target(Y), target="price", objective="values")["all"]
    schema = describe(rows.select(np.arange(N), part="train"))
    with pytest.raises(InputError, match="such as 'a', and numbers are to be predicted"):
        read_labelled(with_target(["a", "b"] * 6), schema=schema, target="price")


def test_training_rows_of_one_number_are_refused():
    rows = read(with_target([*[1.0] * 11, 2.0]), target="price", objective="values")["all"]
    with pytest.raises(InputError, match=r"train split holds the same number, 1.0, in all 11 rows"):
        describe(rows.select(np.arange(11), part="train"))


# --- weights


CLASSES = ["a", "b"] * 6
FRAME = pd.DataFrame({"x": X[:, 0], "label": CLASSES})


class TestWeights:
    values: ClassVar[list[float]] = [0, 0.5, 2.0] * 4

    def test_a_column_is_no_input(self):
        examples = read(FRAME.assign(w=self.values), sample_weight="w")["all"]
        assert examples.weights.tolist() == self.values
        assert examples.weights.dtype == np.float64
        assert examples.input_names == ("x",)
        assert examples.select(np.array([2, 1])).weights.tolist() == [2.0, 0.5]

    @pytest.mark.parametrize(
        "form",
        [list, np.array, torch.tensor, pd.Series, lambda w: pd.Series(w, index=range(9, 21))],
    )
    def test_an_array_goes_with_the_rows_in_their_order(self, form):
        assert read(FRAME, sample_weight=form(self.values))["all"].weights.tolist() == self.values

    def test_an_array_is_that_of_train_and_other_parts_count_alike(self):
        parts = read({"train": FRAME, "validation": FRAME.head(4)}, sample_weight=self.values)
        assert parts["train"].weights.tolist() == self.values
        assert parts["validation"].weights is None

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ([1.0] * 11, r"shape \(11,\), and there are 12 rows"),
            (np.ones((N, 2)), r"shape \(12, 2\)"),
            (3.0, r"shape \(\)"),
            ([1.0, None] * 6, "lacks a weight in 6 of 12 rows"),
            ([1.0, -2.0] * 6, "6 weight.s. that are negative or infinite, first -2.0 in row 1"),
            ([1.0, np.inf] * 6, "first inf in row 1"),
            ([1.0, "much"] * 6, "in row 1, something that is no number"),
            ([0] * N, "the weight 0 in all 12 rows"),
        ],
    )
    def test_what_are_no_weights_is_refused(self, weights, message):
        with pytest.raises(InputError, match=f"sample_weight .*{message}"):
            read(FRAME, sample_weight=weights)
        if np.shape(weights) == (N,):
            with pytest.raises(InputError, match=f"column 'w' .*{message}"):
                read(FRAME.assign(w=weights), sample_weight="w")

    @pytest.mark.parametrize(
        ("frame", "arguments", "message"),
        [
            (FRAME, {"sample_weight": "wait"}, "no column 'wait', named by sample_weight="),
            (FRAME, {"sample_weight": "label"}, "'label' is the target; sample_weight= takes an"),
            (FRAME, {"sample_weight": "x", "inputs": "x"}, "cannot be the weight and an input"),
            (
                FRAME.assign(w=[[1]] * N),
                {"sample_weight": "w"},
                "'w' cannot be sample_weight=: it holds values of type list",
            ),
            (
                {"train": FRAME.assign(w=1.0), "test": FRAME},
                {"sample_weight": "w"},
                "test split has no column 'w'",
            ),
        ],
    )
    def test_columns_that_cannot_be_weights_are_refused(self, frame, arguments, message):
        with pytest.raises(InputError, match=message):
            read(frame, **arguments)
