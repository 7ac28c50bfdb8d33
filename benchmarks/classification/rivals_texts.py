"""What is hard to beat on short texts: word pairs, counted and weighted, and a linear model."""

from __future__ import annotations

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from tasks import Split

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)
"""Of C, from which the best on validation is taken."""


def tfidf(split: Split, seed: int) -> tuple[Pipeline, dict[str, float]]:
    """Return TF-IDF over words and pairs with logistic regression, fitted, and the C it took.

    C is chosen by log loss: on the data's own validation rows, or else in five folds of train.
    """
    texts, targets = split.train.inputs.iloc[:, 0], split.train.targets
    if split.validation is None:
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        model = GridSearchCV(
            _model(), {"logisticregression__C": STRENGTHS}, cv=folds, scoring="neg_log_loss"
        ).fit(texts, targets)
        best = model.best_params_["logisticregression__C"]
        return model.best_estimator_, {"C": best}
    known = split.validation
    losses = {}
    for strength in STRENGTHS:
        fitted = _model(strength).fit(texts, targets)
        losses[strength] = log_loss(known.targets, fitted.predict_proba(known.inputs.iloc[:, 0]))
    best = min(losses, key=losses.__getitem__)
    return _model(best).fit(texts, targets), {"C": best}


def _model(strength: float = 1.0) -> Pipeline:
    return make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=strength, max_iter=2000),
    )
