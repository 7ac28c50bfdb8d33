"""SMOTE: new rows of rare classes, between rows that are there and their neighbours.

A new row of numbers is x + u (x' - x), with x' one of the k nearest rows of the same class and u
uniform over [0, 1]; a category is what most of the k neighbours have (SMOTE-NC), and a table of
categories alone compares rows by how differently their values are spread over the classes
(SMOTE-N). All three are those of imbalanced-learn.

Paper: Chawla et al. 2002, arXiv:1106.1813, section 4.2 and algorithm SMOTE; 6.1 for SMOTE-NC, 6.2
for SMOTE-N.
Differs from the paper: numbers are standardised for the search; a missing one is filled by the
column's median for it, and a new row lacks the numbers that the row nearest to it lacks: were new
rows always complete, a gap would tell the class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from mlexpert.errors import InputError


def smote(
    rows: Tensor,
    targets: Tensor,
    wanted: Sequence[int],
    *,
    categorical: Sequence[int] = (),
    k_neighbors: int = 5,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Make new rows until every class has as many as are wanted.

    Args:
        rows: (N, D) numbers, NaN where missing, and category codes.
        targets: (N,) class indices.
        wanted: (K,) rows that each class is to have; a class that has them is left alone.
        categorical: Columns that hold category codes.
        k_neighbors: Neighbours to choose from, k. In a class of n rows they are n - 1 at the most;
            a single row is repeated.
        seed: Of the draws, which are the same for every class.

    Returns:
        The new rows (S, D), class by class, of the type of `rows`; their targets (S,); and for each
        the row (S,) of its class that it is nearest to, by its numbers where it has any.

    Raises:
        InputError: If imbalanced-learn is not installed.
    """
    table, labels = rows.double().cpu().numpy(), targets.cpu().numpy()
    kinds = np.isin(np.arange(table.shape[1]), categorical)
    ready, center, scale = _for_search(table, kinds)
    made: list[np.ndarray] = [np.empty((0, table.shape[1]))]
    origins: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
    for label, aim in enumerate(wanted):
        (own,) = np.nonzero(labels == label)
        if not 0 < len(own) < aim:
            continue
        if len(own) == 1:
            new = np.repeat(ready[own], aim - 1, axis=0)
        else:
            sampler = _sampler(
                kinds,
                {label: aim},
                k_neighbors=min(k_neighbors, len(own) - 1),
                random_state=seed % 2**32,
            )
            given = _without_foreign_codes(ready, own, kinds)
            new = sampler.fit_resample(given, labels)[0][len(ready) :].astype(np.float64)
        nearest = own[_nearest(ready[own], new, kinds)]
        gaps = np.isnan(table[nearest])
        made.append(np.where(gaps, np.nan, new * scale + center))
        origins.append(nearest)
    origin = torch.from_numpy(np.concatenate(origins)).to(rows.device)
    return torch.from_numpy(np.concatenate(made)).to(rows), targets[origin], origin


def _for_search(table: np.ndarray, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows (N, D) without gaps, numbers standardised, and what puts them back.

    Args:
        table: (N, D).
        kinds: (D,) whether a column holds categories, which stay as they are.

    Returns:
        The rows, and the mean (D,) and deviation (D,) of each column; 0 and 1 for categories.
    """
    numbers = table[:, ~kinds]
    empty = np.isnan(numbers).all(axis=0)
    median = np.nanmedian(np.where(empty, 0.0, numbers), axis=0)
    filled = np.where(np.isnan(numbers), median, numbers)
    center, scale = np.zeros(len(kinds)), np.ones(len(kinds))
    deviation = filled.std(axis=0)
    center[~kinds] = filled.mean(axis=0)
    scale[~kinds] = np.where(deviation > 0, deviation, 1.0)
    ready = table.copy()
    ready[:, ~kinds] = filled
    return (ready - center) / scale, center, scale


def _sampler(kinds: np.ndarray, aim: dict[int, int], **settings: Any) -> Any:
    """Return imbalanced-learn's sampler for columns of these kinds."""
    try:
        from imblearn.over_sampling import SMOTE, SMOTEN, SMOTENC
    except ImportError as error:
        raise InputError(
            "SMOTE needs the package imbalanced-learn: pip install 'mlexpert[smote]'. Without it, "
            "'imbalanced-cls/balanced-bagging' balances the classes, and 'imbalanced-cls' does "
            "without."
        ) from error
    if kinds.all():
        return SMOTEN(sampling_strategy=aim, **settings)
    if kinds.any():
        return SMOTENC(np.flatnonzero(kinds).tolist(), sampling_strategy=aim, **settings)
    return SMOTE(sampling_strategy=aim, **settings)


def _without_foreign_codes(ready: np.ndarray, own: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Return the table (N, D) where other classes have no category that the rows `own` lack.

    SMOTE-NC holds a number for every category, neighbour and new row, though it mixes no others
    than those of the class: an id of 10,000 values would take gigabytes. SMOTE-N does look at the
    other classes.
    """
    if kinds.all() or not kinds.any():
        return ready
    given = ready.copy()
    foreign = np.setdiff1d(np.arange(len(ready)), own)
    given[np.ix_(foreign, kinds)] = ready[own[0], kinds]
    return given


def _nearest(own: np.ndarray, new: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Return which of the rows `own` (n, D) each of `new` (S, D) is nearest to, (S,)."""
    columns, metric = (kinds, "hamming") if kinds.all() else (~kinds, "euclidean")
    search = NearestNeighbors(n_neighbors=1, metric=metric).fit(own[:, columns])
    return search.kneighbors(new[:, columns], return_distance=False)[:, 0]
