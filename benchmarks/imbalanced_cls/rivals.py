"""What a careful engineer would try first on an imbalanced table, at its usual settings."""

from __future__ import annotations

import numpy as np
import pandas as pd
from imblearn.ensemble import BalancedRandomForestClassifier
from imblearn.over_sampling import SMOTE, SMOTENC
from imblearn.pipeline import make_pipeline as make_sampling_pipeline
from lightgbm import LGBMClassifier
from sklearn.base import ClassifierMixin
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from xgboost import XGBClassifier

NUMBERS = make_column_selector(dtype_include=np.number)
WORDS = make_column_selector(dtype_exclude=np.number)


def rivals(seed: int) -> dict[str, ClassifierMixin]:
    """Return the rivals by name: pipelines from the raw table to probabilities, on one thread."""
    forest = {"n_estimators": 300, "n_jobs": 1, "random_state": seed}
    return {
        "logistic regression": make_pipeline(_one_hot(), LogisticRegression(max_iter=2000)),
        "random forest": make_pipeline(_one_hot(), RandomForestClassifier(**forest)),
        "balanced random forest": make_pipeline(
            _one_hot(),
            BalancedRandomForestClassifier(
                **forest, sampling_strategy="all", replacement=True, bootstrap=False
            ),
        ),
        "SMOTE + random forest": _smote_forest(seed),
        "HistGradientBoosting": make_pipeline(
            _ordinal(), HistGradientBoostingClassifier(random_state=seed)
        ),
        "XGBoost": make_pipeline(_one_hot(), XGBClassifier(n_jobs=1, random_state=seed)),
        "LightGBM": make_pipeline(
            _ordinal(), LGBMClassifier(n_jobs=1, random_state=seed, verbose=-1)
        ),
    }


def _one_hot() -> ColumnTransformer:
    words = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return ColumnTransformer(
        [("numbers", numbers, NUMBERS), ("words", words, WORDS)], sparse_threshold=0
    )


def _ordinal() -> ColumnTransformer:
    words = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return ColumnTransformer(
        [("words", words, WORDS)], remainder="passthrough", sparse_threshold=0
    ).set_output(transform="pandas")


class _SmoteForest(ClassifierMixin):
    """SMOTE, or SMOTE-NC where there are categories, on training rows alone; then a forest."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def fit(self, frame: pd.DataFrame, labels: np.ndarray) -> _SmoteForest:
        forest = RandomForestClassifier(n_estimators=300, n_jobs=1, random_state=self.seed)
        words = WORDS(frame)
        sampler = SMOTENC(words, random_state=self.seed) if words else SMOTE(random_state=self.seed)
        self.pipeline = make_sampling_pipeline(sampler, _one_hot(), forest)
        self.pipeline.fit(self._filled(frame), labels)
        self.classes_ = self.pipeline.classes_
        return self

    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray:
        return self.pipeline.predict_proba(self._filled(frame))

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        return self.pipeline.predict(self._filled(frame))

    @staticmethod
    def _filled(frame: pd.DataFrame) -> pd.DataFrame:
        words = WORDS(frame)
        return frame.assign(**{name: frame[name].fillna("missing") for name in words})


def _smote_forest(seed: int) -> _SmoteForest:
    return _SmoteForest(seed)
