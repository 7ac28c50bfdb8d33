"""The recipes for tables: better than a linear model, and content with tables as they are."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import mlexpert
from mlexpert.data.schema import Categorical, Numeric, Schema, ValueStats
from mlexpert.errors import InputError
from mlexpert.fitted import Fitted
from mlexpert.recipes import get
from tests.small_data import table, texts

# Made-up targets are given away by the column that they were made of.
pytestmark = pytest.mark.filterwarnings("ignore:leakage audit")
SMALL: dict[str, Any] = {"members": 4, "width": 32, "precision": "fp32"}


def fit(name: str, data: pd.DataFrame, folder: Path, target: str = "y", **fields: Any) -> Fitted:
    return get(name, **{**SMALL, "epochs": 3, **fields}).fit(
        data, target=target, run_dir=folder / "run", progress=False
    )


def test_it_ranks_far_better_than_logistic_regression(real_data: Path, tmp_path: Path):
    """On 4,300 rows of phoneme boosting has a ROC-AUC of .95 and logistic regression .81."""
    data = pd.read_parquet(real_data / "phoneme.parquet")
    train, test = train_test_split(data, test_size=0.5, random_state=0, stratify=data["class"])
    x, y = train.drop(columns="class"), train["class"]
    linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    fitted = fit("tabular-cls", train, tmp_path, "class", epochs=25, members=8, width=64, test=0)
    rows, truth = test.drop(columns="class"), test["class"]
    floor = roc_auc_score(truth, linear.predict_proba(rows)[:, 1])
    ours = roc_auc_score(truth, fitted.predict_proba(rows)[:, 1])
    assert floor < 0.85
    assert ours > 0.9


def test_it_predicts_numbers_as_well_as_boosting(real_data: Path, tmp_path: Path):
    data = pd.read_parquet(real_data / "california_housing.parquet").sample(3_000, random_state=0)
    target = "median_house_value"
    train, test = data.iloc[:2_000], data.iloc[2_000:]
    encode = make_column_transformer(
        (OneHotEncoder(sparse_output=False, handle_unknown="ignore"), ["ocean_proximity"]),
        remainder="passthrough",
    )
    rival = make_pipeline(encode, HistGradientBoostingRegressor(random_state=0))
    rival.fit(train.drop(columns=target), train[target])
    fitted = fit(
        "tabular-reg", train, tmp_path, target, epochs=40, members=8, width=64, patience=0, test=0
    )
    rows, truth = test.drop(columns=target), test[target].to_numpy()
    ours, theirs = fitted.predict(rows), rival.predict(rows)
    rmse, floor = (np.sqrt(np.mean((p - truth) ** 2)) for p in (ours, theirs))
    assert ours.dtype == np.float64
    assert rmse < 1.03 * floor
    assert np.corrcoef(ours, truth)[0, 1] > 0.85


def test_a_saved_model_predicts_a_row_the_same_in_whatever_company(tmp_path: Path):
    """Statistics come from the training rows, never from the batch at hand."""
    fitted = fit("tabular-cls", table(), tmp_path, "bought")
    rows = table(40, seed=1).drop(columns="bought")
    expected = fitted.predict_proba(rows)
    fitted.save(tmp_path / "model")
    loaded = mlexpert.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(rows), expected)
    strange = rows.assign(age=rows["age"] * 100 + 1e6, income=np.nan, city="Atlantis")
    together = loaded.predict_proba(pd.concat([strange, rows.iloc[[3]]], ignore_index=True))
    np.testing.assert_allclose(together[-1], expected[3], rtol=1e-5)
    assert np.isfinite(together).all()


def test_a_missing_value_may_itself_be_what_tells(tmp_path: Path):
    rng = np.random.default_rng(0)
    label = rng.random(600) < 0.4
    x = rng.normal(size=600)
    x[label & (rng.random(600) < 0.9)] = np.nan
    data = pd.DataFrame({"x": x, "noise": rng.normal(size=600), "y": label})
    fitted = fit("tabular-cls", data, tmp_path, epochs=20)
    assert fitted.evaluate()["roc_auc"] > 0.85  # .5 where the mark is not read


def test_several_labels_of_a_row_are_learned_together(tmp_path: Path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    names = np.array(["left", "low"])
    data = pd.DataFrame({"a": x[:, 0], "b": x[:, 1]})
    data["y"] = [list(names[row]) for row in x < 0]
    fitted = fit("tabular-cls", data, tmp_path, epochs=20)
    shares = fitted.predict_proba(data.drop(columns="y"))
    assert list(fitted.classes_) == ["left", "low"]
    assert ((shares > 0.5) == (x < 0)).mean() > 0.95


def odd_columns(rows: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    day = datetime.date(2020, 2, 29)
    return {
        "constant": 7.0,
        "one word": "same",
        "empty": np.nan,
        "none": pd.Series([None] * rows, dtype=object),
        "flag": rng.random(rows) < 0.5,
        "flag or not known": pd.array(rng.choice([True, False, None], rows), dtype="boolean"),
        "date": [day + datetime.timedelta(days=int(d)) for d in rng.integers(0, 999, rows)],
        "stamp": pd.Timestamp("2020-01-01", tz="Europe/Rome")
        + pd.to_timedelta(rng.integers(0, 9**7, rows), unit="s"),
        "huge": rng.choice([-1e30, 0.0, 1e30], rows),
        "tiny": rng.normal(size=rows) * 1e-30,
        "id": [f"user {i}" for i in rng.permutation(rows)],
    }


@pytest.mark.parametrize("name", ["tabular-cls", "tabular-reg"])
def test_columns_of_every_kind_are_taken_as_they_are(name: str, tmp_path: Path):
    data = pd.DataFrame(odd_columns(300), index=range(300))
    rng = np.random.default_rng(1)
    score = data["flag"] * 2.0 + rng.normal(size=300)
    data["y"] = score if name == "tabular-reg" else np.where(score > 1, "yes", "no")
    fitted = fit(name, data, tmp_path)
    rows = data.drop(columns="y")
    unseen = rows.assign(id="nobody", constant=8.0, empty=1.0, none="now a word")
    for given in (rows, unseen, rows.iloc[:1]):
        predicted = fitted.predict(given)
        assert len(predicted) == len(given)
        assert (
            np.isfinite(predicted).all()
            if name == "tabular-reg"
            else set(predicted)
            <= {
                "yes",
                "no",
            }
        )


@pytest.mark.parametrize("name", ["tabular-cls", "tabular-reg"])
@pytest.mark.parametrize("rows", [20, 200])
def test_one_column_is_enough_and_so_are_twenty_rows(name: str, rows: int, tmp_path: Path):
    x = np.random.default_rng(0).normal(size=rows)
    data = pd.DataFrame({"x": x, "y": x > 0 if name == "tabular-cls" else 3 * x})
    fitted = fit(name, data, tmp_path, epochs=20)
    low, high = fitted.predict(pd.DataFrame({"x": [-1.0, 1.0]}))
    assert low < high


def schema(columns: tuple[Numeric | Categorical, ...], **fields: Any) -> Schema:
    fields = {"classes": (0, 1), "class_names": ("0", "1"), "class_counts": (500, 500), **fields}
    return Schema("tabular", num_rows=1_000, columns=columns, **fields)


def size_of(made: Schema, name: str = "tabular-cls") -> int:
    recipe = get(name).settle(made)
    return sum(p.numel() for p in recipe.build(made).network.model.parameters())


def test_wide_tables_and_long_lists_of_categories_stay_small():
    grid = tuple(np.linspace(0.0, 1.0, 257).tolist())
    numbers = tuple(Numeric(f"n{i}", 0.0, 0.5, 0.3, grid) for i in range(500))
    assert size_of(schema(numbers)) < 500_000
    long = Categorical("id", tuple(map(str, range(10_000))), 0.0)
    assert size_of(schema((long,))) < 250_000


def test_a_number_has_one_output_and_a_class_as_many_as_there_are():
    columns = (Numeric("x", 0.0, 0.0, 1.0, (-1.0, 0.0, 1.0)),)
    values = ValueStats(0.0, 1.0, -2.0, 2.0)
    numbers = schema(
        columns, objective="regression", values=values, classes=(), class_names=(), class_counts=()
    )
    for name, made, outputs in (
        ("tabular-reg", numbers, 1),
        ("tabular-cls", schema(columns), 2),
        ("tabular-cls", schema(columns, objective="multilabel"), 2),
    ):
        model = get(name, members=3).settle(made).build(made).network.model
        inputs = torch.zeros(5, 1)
        assert model.train()(inputs).shape == (5, 3, outputs)
        assert model.eval()(inputs).shape == (5, outputs)


@pytest.mark.parametrize("name", ["tabular-cls", "tabular-reg"])
def test_what_cannot_be_meant_is_refused(name: str, tmp_path: Path):
    for field in ("members", "width", "depth", "num_bins", "embedding_size"):
        with pytest.raises(InputError, match=f"{field}=0"):
            get(name, **{field: 0})
    with pytest.raises(InputError, match="dropout=1"):
        get(name, dropout=1.0)
    data = texts().assign(label=1.0) if name == "tabular-reg" else texts()
    data["label"] = np.arange(len(data)) * 1.0 if name == "tabular-reg" else data["label"]
    with pytest.raises(InputError, match="takes tabular inputs, and these rows are text"):
        fit(name, data, tmp_path, "label")
