"""What a column is worth, beside scikit-learn, and the rows that a model does worst on."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.inspection import permutation_importance
from sklearn.metrics import log_loss, roc_auc_score

import mlexpert
from mlexpert.errors import InputError, RunError
from mlexpert.fitted import Fitted, importance
from mlexpert.fitted.predictions import row_losses
from mlexpert.fitted.worst_examples import write_worst_examples
from mlexpert.recipes import get
from tests.small_data import images, texts


def told(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """Rows whose label one column tells, but for noise, and two others do not."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=rows)
    label = np.where(signal + rng.normal(0, 0.7, rows) > 0.5, "yes", "no")
    noise, city = rng.normal(size=rows), rng.choice(["Rome", "Oslo"], rows)
    return pd.DataFrame({"noise": noise, "signal": signal, "city": city, "label": label})


def trained(ds, folder: Path, recipe: str = "tabular-cls", **fields) -> Fitted:
    quick = {"epochs": 12, "batch_size": 64, "precision": "fp32", **fields}
    if recipe.startswith("tabular"):
        quick |= {"members": 4, "width": 16}
    target = "label" if isinstance(ds, pd.DataFrame) else None
    return get(recipe, **quick).fit(ds, target=target, run_dir=folder, progress=False)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return trained(told(), tmp_path_factory.mktemp("run"))


def test_it_is_that_of_scikit_learn_for_the_same_shuffles(fitted: Fitted) -> None:
    rows, seed = told(120, seed=1), 7
    x, y = rows.drop(columns="label"), rows["label"]
    own = np.random.RandomState(seed).randint(np.iinfo(np.int32).max + 1)

    def fall(_, inputs: pd.DataFrame, labels: pd.Series) -> float:
        return -log_loss(labels, fitted.predict_proba(inputs))

    def area(_, inputs: pd.DataFrame, labels: pd.Series) -> float:
        return roc_auc_score(labels == fitted.classes_[1], fitted.predict_proba(inputs)[:, 1])

    for metric, scoring in ((None, fall), ("roc_auc", area)):
        expected = permutation_importance(
            SimpleNamespace(fit=print), x, y, scoring=scoring, n_repeats=4, random_state=seed
        )
        found = fitted.importance(rows, repeats=4, metric=metric, seed=own)
        for row in found:
            place = list(x.columns).index(row["column"])
            assert row["mean"] == pytest.approx(expected.importances_mean[place], abs=1e-5)
            assert row["std"] == pytest.approx(expected.importances_std[place], abs=1e-5)


def test_the_column_that_tells_is_first_and_noise_is_nothing(fitted: Fitted) -> None:
    first, *rest = fitted.importance(told(400, seed=2), repeats=10)
    assert first["column"] == "signal" and first["mean"] > 0.1
    for row in rest:
        assert abs(row["mean"]) < 0.02 + 2 * row["std"]
    assert fitted.importance(repeats=2)[0]["column"] == "signal"


def test_fit_leaves_it_for_the_report(fitted: Fitted) -> None:
    left = json.loads((fitted.run_dir / "importance.json").read_text())
    assert (left["metric"], left["rows"], left["repeats"]) == ("log_loss", 60, 3)
    assert left["columns"] == [pytest.approx(row) for row in fitted.importance(repeats=3)]


def test_a_regression_is_judged_by_its_error_in_the_users_unit(tmp_path: Path) -> None:
    rows = told(200).drop(columns="city")
    rng = np.random.default_rng(3)
    rows["label"] = 1000 * (rows["signal"] + rng.normal(0, 0.3, len(rows)))
    reg = trained(rows, tmp_path, "tabular-reg", epochs=40)
    assert json.loads((tmp_path / "importance.json").read_text())["metric"] == "rmse"
    first, second = reg.importance(rows)
    assert first["column"] == "signal" and first["mean"] > 200 > 2 * abs(second["mean"])
    assert reg.importance(rows, metric="r2")[0]["mean"] > 0.2


def test_what_cannot_be_asked(fitted: Fitted, tmp_path: Path) -> None:
    rows = told(60, seed=4)
    with pytest.raises(InputError, match="Did you mean 'roc_auc'"):
        fitted.importance(rows, metric="roc_acu")
    for repeats in (0, 2.5, True, "3"):
        with pytest.raises(InputError, match=f"repeats={repeats!r}"):
            fitted.importance(rows, repeats=repeats)
    with pytest.raises(InputError, match=r"metric=\['accuracy'\] cannot be asked for"):
        fitted.importance(rows, metric=["accuracy"])
    for seed in (-1, 2**32, 1.5, "1"):
        with pytest.raises(InputError, match=f"seed={seed!r}"):
            fitted.importance(rows, seed=seed)
    with pytest.raises(InputError, match="'label'"):
        fitted.importance(rows.drop(columns="label"))
    fitted.save(tmp_path / "model")
    with pytest.raises(InputError, match="importance needs a run"):
        mlexpert.load(tmp_path / "model").importance()
    with pytest.raises(InputError, match="in memory, which is gone"):
        Fitted.from_run(fitted.run_dir).importance()


def test_a_wide_table_is_left_out(fitted: Fitted, tmp_path: Path, monkeypatch) -> None:
    rows = fitted._labelled(told(60, seed=4))
    monkeypatch.setattr(importance, "MOST_COLUMNS", 2)
    importance.write_importance(tmp_path, fitted._predictions, rows, fitted.schema)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(importance, "MOST_COLUMNS", 3)
    monkeypatch.setattr(importance, "MOST_ROWS", 50)
    importance.write_importance(tmp_path, fitted._predictions, rows, fitted.schema)
    assert json.loads((tmp_path / "importance.json").read_text())["rows"] == 50


# The worst rows


def test_losses_of_rows_are_those_of_torch() -> None:
    import torch
    import torch.nn.functional as F

    rng = np.random.default_rng(0)
    logits, classes = torch.tensor(rng.normal(size=(9, 3))), torch.tensor(rng.integers(0, 3, 9))
    arrays = {"probabilities": logits.softmax(1).numpy(), "targets": classes.numpy()}
    expected = F.cross_entropy(logits, classes, reduction="none")
    np.testing.assert_allclose(row_losses(arrays, "classification"), expected)
    sets = torch.tensor(rng.integers(0, 2, (9, 3)))
    arrays = {"probabilities": logits.sigmoid().numpy(), "targets": sets.numpy().astype(np.uint8)}
    expected = F.binary_cross_entropy_with_logits(logits, sets.double(), reduction="none")
    np.testing.assert_allclose(row_losses(arrays, "multilabel"), expected.mean(1))
    arrays = {"predictions": np.array([1.0, 4.0]), "targets": np.array([3.0, 4.0])}
    assert row_losses(arrays, "regression").tolist() == [4.0, 0.0]


def test_the_worst_rows_of_a_table_are_named_with_their_values(fitted: Fitted) -> None:
    shown = json.loads((fitted.run_dir / "examples.json").read_text())
    losses = [row["loss"] for row in shown]
    assert len(shown) == 24 and losses == sorted(losses, reverse=True)
    for row in shown[:5]:
        inputs = pd.DataFrame([row["columns"]])
        assert set(row["columns"]) == {"noise", "signal", "city"}
        target = list(fitted.class_names).index(row["target"])
        p = fitted.predict_proba(inputs)[0]
        assert -np.log(p[target]) == pytest.approx(row["loss"], rel=1e-3)
        assert p[list(fitted.class_names).index(row["decision"])] == pytest.approx(
            row["probability"], abs=1e-4
        )
    assert shown[0]["target"] != shown[0]["decision"]


def test_the_worst_images_are_pictures_of_their_own_size(tmp_path: Path) -> None:
    pixels, labels = images(60)
    labels[3] = 1 - labels[3]
    trained((pixels, labels), tmp_path, "imbalanced-cls", epochs=1)
    shown = json.loads((tmp_path / "examples.json").read_text())
    assert 1 < len(shown) <= 24
    for row in shown:
        picture = np.asarray(Image.open(tmp_path / row["file"]))
        assert (pixels == picture).all(axis=(1, 2)).any()
    assert len({row["file"] for row in shown}) == len(shown)


def test_the_worst_texts_begin_as_they_do(tmp_path: Path) -> None:
    rows = texts()
    rows["message"] += " and so on" * 18
    trained(rows, tmp_path, "imbalanced-cls", epochs=1)
    shown = json.loads((tmp_path / "examples.json").read_text())
    beginnings = rows["message"].str[:200].tolist()
    assert all(row["text"] in beginnings and len(row["text"]) == 200 for row in shown)
    assert "examples" not in [path.name for path in tmp_path.iterdir()]


def test_a_full_disk_is_a_run_error(fitted: Fitted, tmp_path: Path, monkeypatch) -> None:
    rows = fitted._labelled(told(30, seed=5))
    arrays = fitted._predictions(rows)

    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match="No space left"):
        write_worst_examples(
            tmp_path, arrays, lambda row: rows.select(np.array([row])), fitted.schema
        )
    with pytest.raises(RunError, match="No space left"):
        importance.write_ranked(tmp_path, [], fitted.schema, 3)
    assert not list(tmp_path.iterdir())
