"""Rivals on tables: boosted trees that stop early, a forest, and pytabkit's networks.

Boosting learns at 0.05, stops after 50 rounds without a better log loss (or squared error) on a
seventh of the training rows, and is otherwise as it comes. pytabkit's two are as they come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

Predict = Callable[[pd.DataFrame], np.ndarray]
"""Maps a table to probabilities (N, K), or for regression to numbers (N,)."""
RATE, ROUNDS, PATIENCE, HELD_OUT = 0.05, 5000, 50, 0.15


def fit_rival(
    name: str,
    frame: pd.DataFrame,
    targets: np.ndarray,
    *,
    numbers: bool,
    seed: int,
    threads: int,
    smoke: bool,
) -> Predict:
    """Return a fitted rival; `targets` are indices of classes, or numbers."""
    known = _categories(frame)
    fit = {"pytabkit RealMLP": _pytabkit, "pytabkit TabM": _pytabkit}.get(name, _trees)
    model = fit(name, _prepared(frame, known), targets, numbers, seed, threads, smoke)
    answer = model.predict if numbers else model.predict_proba
    return lambda table: np.asarray(answer(_prepared(table, known)))


def _categories(frame: pd.DataFrame) -> dict[str, pd.Index]:
    """Return the categories that training saw, of every column that holds no numbers."""
    words = frame.select_dtypes(exclude="number")
    return {name: pd.Index(sorted(words[name].dropna().unique())) for name in words}


def _prepared(frame: pd.DataFrame, known: dict[str, pd.Index]) -> pd.DataFrame:
    """Return the table with its words as categories; one that training did not see is missing."""
    codes = {name: pd.Categorical(frame[name], categories=kept) for name, kept in known.items()}
    return frame.assign(**codes)


def _trees(
    name: str,
    frame: pd.DataFrame,
    targets: np.ndarray,
    numbers: bool,
    seed: int,
    threads: int,
    smoke: bool,
) -> Any:
    if name == "random forest":
        forest = RandomForestRegressor if numbers else RandomForestClassifier
        trees = 20 if smoke else 300
        model = forest(n_estimators=trees, n_jobs=threads, random_state=seed)
        return make_pipeline(_one_hot(), model).fit(frame, targets)
    rounds = 20 if smoke else ROUNDS
    if name == "HistGradientBoosting":
        boosting = HistGradientBoostingRegressor if numbers else HistGradientBoostingClassifier
        return boosting(
            learning_rate=RATE,
            max_iter=rounds,
            early_stopping=True,
            n_iter_no_change=PATIENCE,
            validation_fraction=HELD_OUT,
            random_state=seed,
        ).fit(frame, targets)
    train, held, known, held_targets = train_test_split(
        frame,
        targets,
        test_size=HELD_OUT,
        random_state=seed,
        stratify=None if numbers else targets,
    )
    settings = {
        "n_estimators": rounds,
        "learning_rate": RATE,
        "n_jobs": threads,
        "random_state": seed,
    }
    if name == "XGBoost":
        from xgboost import XGBClassifier, XGBRegressor

        boosting = XGBRegressor if numbers else XGBClassifier
        model = boosting(**settings, early_stopping_rounds=PATIENCE, enable_categorical=True)
        return model.fit(train, known, eval_set=[(held, held_targets)], verbose=False)
    from lightgbm import LGBMClassifier, LGBMRegressor, early_stopping

    boosting = LGBMRegressor if numbers else LGBMClassifier
    return boosting(**settings, verbose=-1).fit(
        train,
        known,
        eval_set=[(held, held_targets)],
        callbacks=[early_stopping(PATIENCE, verbose=False)],
    )


def _one_hot() -> ColumnTransformer:
    words = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    numeric = make_column_selector(dtype_include="number")
    texts = make_column_selector(dtype_exclude="number")
    return ColumnTransformer(
        [("numbers", SimpleImputer(), numeric), ("words", words, texts)], sparse_threshold=0
    )


class _Filled:
    """A model of pytabkit, which wants no missing numbers: they become the training median."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, frame: pd.DataFrame, targets: np.ndarray) -> _Filled:
        self.medians = frame.select_dtypes("number").median()
        words = list(frame.select_dtypes(exclude="number"))
        self.model.fit(frame.fillna(self.medians), targets, cat_col_names=words)
        return self

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        return np.ravel(self.model.predict(frame.fillna(self.medians)))

    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray:
        return self.model.predict_proba(frame.fillna(self.medians))


def _pytabkit(
    name: str,
    frame: pd.DataFrame,
    targets: np.ndarray,
    numbers: bool,
    seed: int,
    threads: int,
    smoke: bool,
) -> _Filled:
    import pytabkit

    kind = {"pytabkit RealMLP": "RealMLP_TD", "pytabkit TabM": "TabM_D"}[name]
    made = getattr(pytabkit, f"{kind}_{'Regressor' if numbers else 'Classifier'}")
    settings = {"n_epochs": 2} if smoke else {}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = made(device=device, random_state=seed, n_threads=threads, verbosity=0, **settings)
    return _Filled(model).fit(frame, targets)
