"""Weights, folds and predictions on the command line, for every objective."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mlexpert
from mlexpert.cli import main, predicting
from tests.small_data import table

SMALL = ["--epochs", "2", "--quiet", "--set", "members=4", "--set", "width=16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Tables with a target of every kind, and a column of weights."""
    rows, rng = table(240), np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("data")
    rows["counts"] = rng.integers(1, 4, len(rows))
    rows.to_csv(folder / "classes.csv", index=False)
    old = (rows["age"] + rng.normal(0, 6, len(rows)) > 42) * 1
    rome = ((rows["city"] == "Rome") ^ (rng.random(len(rows)) < 0.1)) * 1
    labels = rows.drop(columns="bought").assign(old=old, rome=rome)
    labels.to_parquet(folder / "labels.parquet")
    paid = 100 * (rows["age"] + rng.normal(0, 6, len(rows)))
    rows.drop(columns="bought").assign(paid=paid).to_csv(folder / "values.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def ensemble(folder: Path, tmp_path_factory) -> Path:
    """The run folder of two folds of weighted rows, made by `fit`."""
    run = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLEXPERT_HOME", str(tmp_path_factory.mktemp("home")))
        call = ["fit", "tabular-cls", str(folder / "classes.csv"), "--target", "bought", *SMALL]
        with pytest.raises(SystemExit) as end:
            main([*call, "--sample-weight", "counts", "--folds", "2", "--run-dir", str(run)])
    assert not end.value.code
    return run


def test_the_help_of_fit_names_folds_and_weights(call):
    code, out, _ = call("fit", "tabular-cls", "--help")
    assert code == 0 and "--folds" in out and "--sample-weight" in out


def test_folds_and_weights_reach_the_run(call, ensemble):
    fitted = mlexpert.Fitted.from_run(ensemble)
    assert fitted.facts["folds"] == 2
    assert fitted.facts["data"]["roles"]["sample_weight"] == "counts"
    assert [column.name for column in fitted.schema.columns] == ["age", "income", "city"]
    code, out, _ = call("evaluate", ensemble, "--final-test", "a table")
    assert code == 0 and "On average over 2 folds: selected epoch" in out
    assert "Opening 1 of this sealed test split" in out


def test_weights_of_a_column_that_is_not_there(call, folder, cwd):
    args = ["fit", "tabular-cls", folder / "classes.csv", "--target", "bought"]
    code, _, err = call(*args, "--sample-weight", "count")
    assert code == 2 and "'count'" in err and "'counts'" in err
    code, _, err = call(*args, "--folds", "1")
    assert code == 2 and "folds=1" in err
    assert list(cwd.iterdir()) == []


def test_predictions_are_written_as_parquet_and_csv(call, ensemble, folder, tmp_path, monkeypatch):
    frames = []
    stream = mlexpert.Fitted.predict_stream
    monkeypatch.setattr(  # in pieces, as of a long file
        mlexpert.Fitted, "predict_stream", lambda self, rows: stream(self, rows, rows_at_once=100)
    )
    for name in ("said.parquet", "said.csv"):
        args = ["predict", ensemble, folder / "classes.csv", "--out", tmp_path / name]
        code, out, err = call(*args)
        assert code == 0 and "240 rows" in out, err
        read = pd.read_parquet if name.endswith("parquet") else pd.read_csv
        frames.append(read(tmp_path / name))
    fitted = mlexpert.load(ensemble)
    rows = pd.read_csv(folder / "classes.csv")
    for frame in frames:
        assert frame["prediction"].tolist() == fitted.predict(rows).tolist()
        np.testing.assert_allclose(
            frame[["probability_no", "probability_yes"]], fitted.predict_proba(rows), atol=1e-6
        )
    code, out, _ = call("predict", ensemble, folder / "classes.csv")
    assert out == (tmp_path / "said.csv").read_text()


def test_a_file_is_there_only_when_it_is_whole(call, ensemble, folder, tmp_path, monkeypatch):
    rows = pd.read_csv(folder / "classes.csv").astype({"age": object})
    rows.loc[200, "age"] = "old"
    rows.to_csv(tmp_path / "rows.csv", index=False)
    stream = mlexpert.Fitted.predict_stream
    monkeypatch.setattr(
        mlexpert.Fitted, "predict_stream", lambda self, rows: stream(self, rows, rows_at_once=64)
    )
    for name in ("said.csv", "said.parquet"):
        code, _, err = call("predict", ensemble, tmp_path / "rows.csv", "--out", tmp_path / name)
        assert code == 2 and "row 200 of the stream" in err and "'old'" in err
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_no_rows_to_predict(call, ensemble, tmp_path):
    (tmp_path / "rows.csv").write_text("age,income,city\n")
    code, _, err = call("predict", ensemble, tmp_path / "rows.csv")
    assert code == 2 and "no rows" in err


def test_several_labels(call, folder, cwd):
    labels = folder / "labels.parquet"
    roles = ["--target", "old", "--target", "rome"]
    code, out, err = call("fit", "tabular-cls", labels, *roles, *SMALL, "--run-dir", "run")
    assert code == 0, err
    assert "hamming_loss" in out and "argmax" not in out
    code, out, _ = call("predict", "run", labels, "--out", "said.csv")
    said, fitted = pd.read_csv("said.csv"), mlexpert.load("run")
    sets = fitted.predict(pd.read_parquet(labels))
    assert said["prediction_rome"].tolist() == [int("rome" in own) for own in sets]
    assert list(said) == [
        f"{w}_{n}" for w in ("prediction", "probability") for n in ("old", "rome")
    ]


def test_numbers(call, folder, cwd):
    args = ["fit", "tabular-reg", folder / "values.csv", "--target", "paid", *SMALL]
    code, out, err = call(*args, "--run-dir", "run", "--final-test", "a table")
    assert code == 0, err
    assert "rmse" in out and "argmax" not in out and "Opening 1" in out
    code, out, _ = call("predict", "run", folder / "values.csv")
    lines = out.splitlines()
    assert lines[0] == "prediction" and len(lines) == 241
    said = mlexpert.load("run").predict(pd.read_csv(folder / "values.csv"))
    np.testing.assert_allclose(np.array(lines[1:], dtype=float), said, rtol=1e-6)


def test_an_output_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(mlexpert.RunError, match="cannot be written"):
        predicting.write([pd.DataFrame({"a": [1]})], tmp_path / "none" / "said.parquet")
