"""Find what gives a target away without being knowledge: columns, and the order of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

TELLING_AUC = 0.99
TELLING_R2 = 0.99

_FOLDS = 3
_MOST_ROWS = 20_000
_MOST_CELLS = 500_000  # rows are thinned for wide tables, so that the time stays within seconds
_FEWEST_ROWS = 1_000
_FEWEST_OF_CLASS = 10  # below that, a chance column reaches any AUC
_FEWEST_OF_VALUES = 30


def telling_columns(
    frame: pd.DataFrame, classes: np.ndarray, *, threshold: float = TELLING_AUC, seed: int = 0
) -> dict[str, float] | None:
    """Find columns from which alone a small tree predicts the class almost perfectly.

    The tree has four leaves for each class (for two classes: a tree of depth 3), and is judged on
    rows that it was not fitted on. Categories are coded by the mean class number of the fitting
    rows, so a column that names the class under any other name is found, and one of unique strings
    is not.

    Args:
        frame: Columns (N, D) of training rows.
        classes: (N,) class numbers from 0.
        threshold: Area under the ROC curve, averaged over classes (one against the rest), that
            counts as telling.
        seed: Draws the rows and folds.

    Returns:
        Name and AUC of each such column, the most telling first; None where fewer than two classes
        have 10 rows.
    """
    from sklearn.tree import DecisionTreeClassifier

    counts = np.bincount(classes)
    kept = np.flatnonzero(counts >= _FEWEST_OF_CLASS)
    if len(kept) < 2:
        return None
    rng = np.random.default_rng(seed)
    rows = _sample(classes, kept, _most_rows(frame), rng)
    numbers = np.searchsorted(kept, classes[rows])
    folds = _folds(numbers, rng)
    tree = DecisionTreeClassifier(
        max_leaf_nodes=4 * len(kept),
        max_depth=3 if len(kept) == 2 else None,
        class_weight="balanced",
        random_state=0,
    )

    def score(values: np.ndarray, fit: np.ndarray) -> float:
        tree.fit(values[fit], numbers[fit])
        return _mean_auc(tree.predict_proba(values[~fit]), numbers[~fit])

    return _over_columns(frame.iloc[rows], numbers, folds, threshold, score)


def telling_of_values(
    frame: pd.DataFrame, values: np.ndarray, *, threshold: float = TELLING_R2, seed: int = 0
) -> dict[str, float] | None:
    """Find columns from which alone a tree predicts a number almost perfectly.

    The tree has 256 leaves and predicts the ranks of the numbers, so that a few large ones do not
    decide. It is judged, and categories are coded, as in `telling_columns`.

    Args:
        frame: Columns (N, D) of training rows.
        values: (N,) numbers to predict.
        threshold: Share of the ranks' variance explained, R2, that counts as telling.
        seed: Draws the rows and folds.

    Returns:
        Name and R2 of each such column, the most telling first; None for fewer than 30 rows.
    """
    from scipy.stats import rankdata
    from sklearn.metrics import r2_score
    from sklearn.tree import DecisionTreeRegressor

    if len(values) < _FEWEST_OF_VALUES:
        return None
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(values))[: _most_rows(frame)])
    ranks = rankdata(values[rows])
    folds = rng.permutation(len(rows)) % _FOLDS
    tree = DecisionTreeRegressor(max_leaf_nodes=256, min_samples_leaf=2, random_state=0)

    def score(values: np.ndarray, fit: np.ndarray) -> float:
        tree.fit(values[fit], ranks[fit])
        return float(r2_score(ranks[~fit], tree.predict(values[~fit])))

    return _over_columns(frame.iloc[rows], ranks, folds, threshold, score)


def identifier_columns(frame: pd.DataFrame) -> list[str]:
    """Find columns of whole numbers or strings whose value is another one in every row.

    Args:
        frame: Columns (N, D).

    Returns:
        Their names. Measurements with a fraction are no identifiers, though they seldom repeat.
    """
    import pandas as pd

    found = []
    for name, column in frame.items():
        dtype = column.dtype
        if pd.api.types.is_float_dtype(dtype):
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
            candidate = bool((values == np.floor(values)).all())  # false for missing values
        else:
            candidate = not (pd.api.types.is_bool_dtype(dtype) or column.isna().any())
        if candidate and len(column) > 2 and column.is_unique:
            found.append(str(name))
    return found


def order_dependence(classes: np.ndarray) -> tuple[float, float]:
    """Measure how far the class depends on the position of its row.

    Args:
        classes: (N,) class numbers from 0, in the order of rows.

    Returns:
        Trend: the largest |2 AUC - 1| of the position for one class against the rest, 0 where
        chance explains it (below 4 standard deviations). Runs: how much more often neighbours agree
        than chance has it, from 0 to 1 for sorted rows.
    """
    n, counts = len(classes), np.bincount(classes)
    rest = n - counts
    positions = np.bincount(classes, weights=np.arange(1, n + 1))
    pairs = np.maximum(counts * rest, 1)
    trend = np.abs(2 * (positions - counts * (counts + 1) / 2) / pairs - 1)
    chance = np.sqrt((n + 1) / (3 * pairs))  # standard deviation of 2 AUC - 1
    trend[(trend < 4 * chance) | (counts * rest == 0)] = 0
    expected = float((counts * (counts - 1)).sum() / max(n * (n - 1), 1))
    agreement = float((classes[1:] == classes[:-1]).mean()) if n > 1 else expected
    runs = (agreement - expected) / max(1 - expected, 1e-9)
    if runs < 4 * np.sqrt(expected / max((1 - expected) * n, 1e-9)):
        runs = 0.0
    return float(trend.max()), float(max(runs, 0.0))


def _sample(
    classes: np.ndarray, kept: np.ndarray, most: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw at most `most` rows of the kept classes, from the most frequent ones the least part."""
    counts = np.sort(np.bincount(classes)[kept])
    # The cap on every class that leaves `most` rows: the rare classes are kept whole.
    below = np.concatenate([[0], np.cumsum(counts)])[:-1]
    caps = (most - below) // np.arange(len(counts), 0, -1)
    fits = np.flatnonzero(caps < counts)
    cap = int(max(caps[fits[0]], _FEWEST_OF_CLASS)) if len(fits) else int(counts[-1])
    rows = []
    for number in kept:
        members = np.flatnonzero(classes == number)
        rows.append(members if len(members) <= cap else rng.choice(members, cap, replace=False))
    return np.sort(np.concatenate(rows))


def _folds(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the fold (N,) of each row, the same number of every class in each."""
    order = rng.permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]
    folds = np.empty(len(classes), dtype=np.int64)
    folds[order] = np.arange(len(classes)) % _FOLDS
    return folds


def _most_rows(frame: pd.DataFrame) -> int:
    return min(_MOST_ROWS, max(_FEWEST_ROWS, _MOST_CELLS // max(frame.shape[1], 1)))


def _over_columns(
    frame: pd.DataFrame,
    targets: np.ndarray,
    folds: np.ndarray,
    threshold: float,
    score: Callable[[np.ndarray, np.ndarray], float],
) -> dict[str, float]:
    """Return the columns that score the threshold or more, the highest first."""
    found = {}
    for position, name in enumerate(frame.columns):
        reached = _cross_validated(frame.iloc[:, position], targets, folds, threshold, score)
        if reached >= threshold:
            found[str(name)] = reached
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _cross_validated(
    column: pd.Series,
    targets: np.ndarray,
    folds: np.ndarray,
    threshold: float,
    score: Callable[[np.ndarray, np.ndarray], float],
) -> float:
    """Return the mean score over folds; after one fold far below the threshold, that of this one.

    Args:
        column: Values (N,) of one column.
        targets: (N,) numbers by which categories are coded.
        folds: (N,) fold of each row.
        threshold: The score that counts as telling.
        score: Fits on those rows of a coded column (N, 1) that a mask (N,) marks, and returns how
            well the others are predicted.
    """
    scores = []
    for fold in range(_FOLDS):
        fit = folds != fold
        scores.append(score(_coded(column, targets, fit), fit))
        if scores[0] < threshold - 0.05:
            break
    return float(np.mean(scores))


def _coded(column: pd.Series, targets: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """Return the column (N, 1) as numbers that a tree can split: NaN where missing."""
    import pandas as pd

    dtype = column.dtype
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    elif pd.api.types.is_datetime64_any_dtype(dtype):
        values = np.where(column.isna(), np.nan, column.to_numpy().astype(np.float64))
    else:
        codes = pd.factorize(column.astype(object))[0] + 1  # 0: missing, a category like the others
        counts = np.bincount(codes[fit], minlength=codes.max() + 1)
        sums = np.bincount(codes[fit], weights=targets[fit], minlength=codes.max() + 1)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), targets[fit].mean())
        values = means[codes]
    limit = float(np.finfo(np.float32).max)  # the tree works in float32
    return np.clip(values, -limit, limit)[:, None]


def _mean_auc(scores: np.ndarray, classes: np.ndarray) -> float:
    """Return the ROC AUC of scores (N, K), averaged over classes against the rest."""
    from scipy.stats import rankdata

    counts = np.bincount(classes, minlength=scores.shape[1])
    ranks = rankdata(scores, axis=0)
    sums = np.array([ranks[classes == k, k].sum() for k in range(scores.shape[1])])
    rest = len(classes) - counts
    valid = (counts > 0) & (rest > 0)
    areas = (sums - counts * (counts + 1) / 2)[valid] / (counts * rest)[valid]
    return float(areas.mean())
