"""What a careful engineer would try first on an imbalanced table or on messages.

Samplers see standardised numbers, so that a neighbour is near in every column, and words as words:
SMOTE becomes SMOTE-NC where there are any. Forests have 300 trees and BalancedBagging 100, so that
their probabilities are fine enough to rank by; all else is as it comes. Nothing sees a test row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from imblearn.ensemble import (
    BalancedBaggingClassifier,
    BalancedRandomForestClassifier,
    EasyEnsembleClassifier,
    RUSBoostClassifier,
)
from imblearn.over_sampling import SMOTE, SMOTENC, RandomOverSampler
from imblearn.pipeline import Pipeline
from imblearn.pipeline import make_pipeline as make_sampling_pipeline
from imblearn.under_sampling import RandomUnderSampler
from lightgbm import LGBMClassifier
from sklearn.base import ClassifierMixin
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from xgboost import XGBClassifier

NUMBERS = make_column_selector(dtype_include="number")
WORDS = make_column_selector(dtype_exclude="number")
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)
"""Of C on messages, from which the best in five folds of train is taken."""


def table_rival(
    name: str, frame: pd.DataFrame, targets: np.ndarray, *, seed: int, threads: int
) -> ClassifierMixin:
    """Return an untrained pipeline from the raw table to probabilities.

    Args:
        name: Of the rival.
        frame: Training rows, which say what columns there are.
        targets: Their classes (N,), 0 and 1, which say how rare the second is.
        seed: Of all that is drawn.
        threads: That it may take.
    """
    forest = RandomForestClassifier(n_estimators=300, n_jobs=threads, random_state=seed)
    logistic = LogisticRegression(max_iter=2000)
    drawn = {"random_state": seed}
    words = list(WORDS(frame))
    smote = SMOTENC(words, **drawn) if words else SMOTE(**drawn)
    over, under = RandomOverSampler(**drawn), RandomUnderSampler(**drawn)
    ratio = float((targets == 0).sum() / (targets == 1).sum())
    parallel = {"n_jobs": threads, **drawn}
    made: dict[str, Callable[[], ClassifierMixin]] = {
        "logistic regression": lambda: make_pipeline(_one_hot(), logistic),
        "random forest": lambda: make_pipeline(_one_hot(), forest),
        "HistGradientBoosting": lambda: make_pipeline(
            _ordinal(), HistGradientBoostingClassifier(**drawn)
        ),
        "XGBoost": lambda: make_pipeline(_one_hot(), XGBClassifier(**parallel)),
        "LightGBM": lambda: make_pipeline(_ordinal(), LGBMClassifier(**parallel, verbose=-1)),
        "HistGradientBoosting, balanced": lambda: make_pipeline(
            _ordinal(), HistGradientBoostingClassifier(class_weight="balanced", **drawn)
        ),
        "XGBoost, weighted": lambda: make_pipeline(
            _one_hot(), XGBClassifier(scale_pos_weight=ratio, **parallel)
        ),
        "LightGBM, balanced": lambda: make_pipeline(
            _ordinal(), LGBMClassifier(class_weight="balanced", **parallel, verbose=-1)
        ),
        "balanced random forest": lambda: make_pipeline(
            _one_hot(),
            BalancedRandomForestClassifier(
                n_estimators=300,
                sampling_strategy="all",
                replacement=True,
                bootstrap=False,
                **parallel,
            ),
        ),
        "EasyEnsemble": lambda: make_pipeline(_one_hot(), EasyEnsembleClassifier(**parallel)),
        "RUSBoost": lambda: make_pipeline(_one_hot(), RUSBoostClassifier(**drawn)),
        "BalancedBagging": lambda: make_pipeline(
            _one_hot(), BalancedBaggingClassifier(n_estimators=100, **parallel)
        ),
        "SMOTE + random forest": lambda: _sampled(smote, forest),
        "SMOTE + logistic regression": lambda: _sampled(smote, logistic),
        "random undersampling + random forest": lambda: _sampled(under, forest),
        "random oversampling + logistic regression": lambda: _sampled(over, logistic),
    }
    return made[name]()


def text_rival(name: str, seed: int) -> GridSearchCV:
    """Return an untrained model of texts; C is chosen by balanced accuracy in folds of train."""
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    drawn = {"random_state": seed}
    samplers: dict[str, Any] = {
        "SMOTE": SMOTE(**drawn),
        "random oversampling": RandomOverSampler(**drawn),
        "random undersampling": RandomUnderSampler(**drawn),
    }
    weight = "balanced" if name.endswith("balanced") else None
    logistic = LogisticRegression(max_iter=2000, class_weight=weight)
    steps = [vectors, *(step for part, step in samplers.items() if f" {part} " in name), logistic]
    return GridSearchCV(
        make_sampling_pipeline(*steps),
        {"logisticregression__C": STRENGTHS},
        cv=StratifiedKFold(5, shuffle=True, **drawn),
        scoring="balanced_accuracy",
    )


def _sampled(sampler: Any, model: ClassifierMixin) -> Pipeline:
    """Return the sampler between scaling and one-hot codes, which it needs for its distances."""
    return make_sampling_pipeline(_scaled(), sampler, _one_hot(), model)


def _one_hot() -> ColumnTransformer:
    words = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    return ColumnTransformer(
        [("numbers", _numeric(), NUMBERS), ("words", words, WORDS)], sparse_threshold=0
    )


def _scaled() -> ColumnTransformer:
    """Standardise numbers and keep words, as a table."""
    words = SimpleImputer(strategy="constant", fill_value="missing")
    return ColumnTransformer(
        [("numbers", _numeric(), NUMBERS), ("words", words, WORDS)],
        sparse_threshold=0,
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")


def _numeric() -> Any:
    return make_pipeline(SimpleImputer(), StandardScaler())


def _ordinal() -> ColumnTransformer:
    words = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return ColumnTransformer(
        [("words", words, WORDS)], remainder="passthrough", sparse_threshold=0
    ).set_output(transform="pandas")
