"""Recipes as scikit-learn estimators, against scikit-learn's own checks and tools."""

from __future__ import annotations

import pickle
import pickletools
import tempfile

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    parametrize_with_checks,
)

from mlexpert import InputError
from mlexpert.sklearn import RecipeClassifier, RecipeRegressor
from tests import small_data

FEW = {"epochs": 6, "lr": 1e-2, "ema": 0.0, "random_state": 0}
ESTIMATORS = [RecipeClassifier("tabular-cls", epochs=6), RecipeRegressor("tabular-reg", epochs=6)]
RARE = "ignore:too few distinct rows to hold one out"


@parametrize_with_checks(ESTIMATORS)
@pytest.mark.filterwarnings(RARE)  # a check has a class of one row
def test_passes_the_checks_of_scikit_learn(estimator, check, monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")  # else the check of array inputs is skipped
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=["classifier", "regressor"])
def test_names_of_columns_have_to_be_those_of_fit(estimator):
    check_dataframe_column_names_consistency("recipe", clone(estimator).set_params(epochs=1))


@pytest.fixture(scope="module")
def iris() -> tuple[np.ndarray, np.ndarray]:
    return load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def fitted(iris) -> RecipeClassifier:
    return RecipeClassifier("tabular-cls", **FEW).fit(*iris)


def test_search_over_fields_in_a_pipeline(iris):
    pipeline = make_pipeline(StandardScaler(), RecipeClassifier("tabular-cls", **FEW))
    grid = {"recipeclassifier__lr": [1e-9, 1e-2], "recipeclassifier__width": [32]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(*iris)
    assert search.best_params_ == {"recipeclassifier__lr": 1e-2, "recipeclassifier__width": 32}
    assert search.best_score_ > 0.7
    assert search.best_estimator_[-1].fitted_.recipe.width == 32


def test_regression_comes_near_a_linear_model():
    x, y = load_diabetes(return_X_y=True)
    ours = cross_val_score(RecipeRegressor("tabular-reg", **FEW), x, y, cv=2)
    theirs = cross_val_score(LinearRegression(), x, y, cv=2)
    assert ours.mean() > theirs.mean() - 0.1


def test_calibration_voting_and_predictions_of_folds(iris):
    x, y = iris
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    ours = RecipeClassifier("tabular-cls", **FEW)
    calibrated = CalibratedClassifierCV(ours, cv=2).fit(x, names)
    voting = VotingClassifier(
        [("ours", ours), ("theirs", LogisticRegression(max_iter=500))], voting="soft"
    ).fit(x, names)
    out_of_fold = cross_val_predict(ours, x, names, cv=2, method="predict_proba")
    assert calibrated.score(x, names) > 0.9 and voting.score(x, names) > 0.9
    assert (out_of_fold.argmax(axis=1) == y).mean() > 0.9


def test_frames_with_words_and_gaps():
    frame = small_data.table()
    x, y = frame.drop(columns="bought"), frame["bought"]
    estimator = RecipeClassifier("tabular-cls", **FEW).fit(x, y)
    assert estimator.feature_names_in_.tolist() == ["age", "income", "city"]
    assert estimator.classes_.tolist() == ["no", "yes"]
    assert estimator.score(x, y) > (y == "no").mean()
    unseen = x.assign(city="Bern", income=np.nan)
    assert np.isfinite(estimator.predict_proba(unseen)).all()
    columns = make_column_transformer((StandardScaler(), ["age"]), remainder="passthrough")
    columns.set_output(transform="pandas")
    assert make_pipeline(columns, clone(estimator)).fit(x, y).score(x, y) > 0.7
    with pytest.raises(ValueError, match="infinite"):
        estimator.fit(x.assign(age=np.inf), y)


@pytest.mark.parametrize(
    "labels", [[9, 10, -1], [True, False], [1.0, 2.0], ["10", "9"], np.array(["b", "a"], object)]
)
def test_labels_come_back_as_they_were(iris, labels):
    x, y = iris
    rows = y < len(labels)
    named = np.asarray(labels)[y[rows]]
    estimator = RecipeClassifier("tabular-cls", **FEW).fit(x[rows], named)
    assert (estimator.classes_ == np.unique(named)).all()
    assert estimator.predict(x[rows]).dtype == named.dtype
    assert estimator.score(x[rows], named) > 0.85
    probable = estimator.classes_[estimator.predict_proba(x[rows]).argmax(axis=1)]
    assert (probable == named).mean() > 0.85


def test_class_weight_by_label():
    noise = np.random.default_rng(0).normal(size=(60, 2))
    flips = np.random.default_rng(1).integers(0, 2, 60) * 7
    weights = {0: 50.0, 7: 1.0, 8: 3.0}  # 8: of another fold
    ours = RecipeClassifier("tabular-cls", class_weight=weights, epochs=3).fit(noise, flips)
    assert (ours.predict(noise) == 0).all()
    with pytest.raises(InputError, match="'77'"):
        ours.set_params(class_weight={0: 1.0, 77: 2.0}).fit(noise, flips)


def test_rows_are_a_weighted_multiset(iris):
    x, y = (part[::3] for part in iris)
    rng = np.random.default_rng(0)
    weights = rng.choice([0.25, 1.5, 2.0], len(y))
    order = rng.permutation(len(y))
    one = RecipeClassifier("tabular-cls", **FEW).fit(x, y, weights)
    other = clone(one).fit(
        np.concatenate([x[order], x[:5], x[:5] + 1]),
        np.concatenate([y[order], y[:5], y[:5]]),
        np.concatenate([weights[order] - 0.125 * (order < 5), np.full(5, 0.125), np.zeros(5)]),
    )
    assert (one.predict_proba(x) == other.predict_proba(x)).all()
    assert one.fitted_.facts["data"]["weights"] is not None
    assert (one.predict_proba(x) != clone(one).fit(x, y).predict_proba(x)).any()


def test_nothing_is_left_behind_unless_asked_for(iris, cwd, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(cwd))
    estimator = RecipeClassifier("tabular-cls", **FEW).fit(*iris)
    estimator.predict(iris[0])
    pickle.loads(pickle.dumps(estimator))
    assert list(cwd.iterdir()) == []
    kept = clone(estimator).set_params(runs_dir=cwd / "kept")
    for _ in range(2):
        kept.fit(*iris)
    assert len(list((cwd / "kept").glob("tabular-cls-*/run.json"))) == 2
    assert kept.fitted_.evaluate()["accuracy"] > 0.5


def test_pickles_are_files_of_the_model(fitted, iris, tmp_path):
    x, _ = iris
    content = pickle.dumps(fitted)
    modules = [arg for op, arg, _ in pickletools.genops(content) if op.name.endswith("UNICODE")]
    assert "mlexpert.sklearn.estimators" in modules and not [
        m for m in modules if "torch" in str(m)
    ]
    joblib.dump(fitted, tmp_path / "model.joblib", compress=3)
    for again in (pickle.loads(content), joblib.load(tmp_path / "model.joblib"), clone(fitted)):
        assert again.get_params() == fitted.get_params()
    assert (again.fit(*iris).predict_proba(x) == fitted.predict_proba(x)).all()
    assert (pickle.loads(content).predict_proba(x) == fitted.predict_proba(x)).all()


def test_parameters_are_those_of_scikit_learn_and_fields():
    estimator = RecipeClassifier("tabular-cls", epochs=3)
    assert estimator.get_params()["epochs"] == 3
    assert clone(estimator).set_params(lr=0.1).get_params()["lr"] == 0.1
    assert "epochs=3" in repr(estimator) and "epochs" in estimator._repr_html_()
    with pytest.raises(InputError, match="Did you mean 'epochs'"):
        RecipeClassifier("tabular-cls", epoch=3)
    with pytest.raises(ValueError, match="Did you mean 'weight_decay'"):
        estimator.set_params(weight_decy=3)
    assert "weight_decy" not in estimator.get_params()
    with pytest.raises(InputError, match="seed is called random_state"):
        RecipeRegressor("tabular-reg", seed=1)
    with pytest.raises(InputError, match="test has no place"):
        estimator.set_params(test=0.1)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (RecipeClassifier("tabular-clss"), "Did you mean 'tabular-cls'"),
        (RecipeClassifier(None), "name of a recipe"),
        (RecipeClassifier("tabular-reg"), "RecipeRegressor for values"),
        (RecipeRegressor("tabular-cls"), "RecipeClassifier is for classes"),
        (RecipeClassifier(validation_fraction=2.0), "share between 0 and 1"),
        (RecipeClassifier(epochs="many"), "epochs='many'"),
        (RecipeClassifier("imbalanced-cls", class_weight="balanced"), "no field 'class_weight'"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_fit(estimator, message, iris):
    with pytest.raises(InputError, match=message):
        estimator.fit(*iris)
    with pytest.raises(NotFittedError):
        estimator.predict(iris[0])


def test_too_few_rows_to_hold_any_out(iris):
    x, y = iris
    rows = [0, 1, 50, 51]
    with pytest.warns(UserWarning, match="too sure of itself"):
        tiny = RecipeClassifier("tabular-cls", **FEW).fit(x[rows], y[rows])
    assert tiny.predict(x[rows]).shape == (4,)
    with pytest.warns(UserWarning, match="of class '2': all are trained on"):
        lone = RecipeClassifier("tabular-cls", **FEW).fit(x[:101], y[:101])
    assert lone.predict_proba(x).shape == (150, 3)


def test_warns_of_a_column_that_tells_the_class_in_a_large_table():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1500)
    frame = pd.DataFrame({"noise": rng.normal(size=1500), "leak": y + rng.normal(0, 0.01, 1500)})
    with pytest.warns(UserWarning, match="leakage audit: .*'leak'"):
        RecipeClassifier("tabular-cls", epochs=1).fit(frame, y)


def test_texts_in_a_pipeline(cwd):
    frame = small_data.texts(rows=60)
    x, y = frame["message"], frame["label"]
    estimator = RecipeClassifier("imbalanced-cls", epochs=2, random_state=0)
    pipeline = make_pipeline(FunctionTransformer(lambda texts: [t.strip() for t in texts]))
    pipeline.steps.append(("recipe", estimator))
    assert pipeline.fit(x, y).predict_proba(x).shape == (60, 2)
    assert clone(estimator).fit(x.tolist(), y, np.full(60, 0.5) + (y == "spam")).score(x, y) > 0.5


def test_a_frame_of_one_column_of_texts(cwd):
    frame = small_data.texts(rows=60)
    estimator = RecipeClassifier("imbalanced-cls", epochs=2, random_state=0)
    estimator.fit(frame[["message"]], frame["label"])
    assert estimator.fitted_.schema.kind == "text"
    assert estimator.predict_proba(frame[["message"]]).shape == (60, 2)


def test_images(cwd):
    x, y = small_data.images(rows=40)
    estimator = RecipeClassifier("imbalanced-cls", epochs=1, random_state=0).fit(x, y)
    assert estimator.predict_proba(x).shape == (40, 2)
    assert pickle.loads(pickle.dumps(estimator)).score(x, y) == estimator.score(x, y)
