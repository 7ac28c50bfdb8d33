"""SMOTE: new rows of rare classes, between rows that are there and their neighbours.

A new row of numbers is x + u (x' - x), with x' one of the k nearest rows of the same class and u
uniform over [0, 1]; a category is what most of the k neighbours have (SMOTE-NC). Both draw the
rows of imbalanced-learn, whose SMOTE-NC takes six times as long. A table of categories alone
compares rows by how differently their values are spread over the classes (SMOTE-N), and that is
imbalanced-learn's.

Paper: Chawla et al. 2002, arXiv:1106.1813, section 4.2 and algorithm SMOTE; 6.1 for SMOTE-NC, 6.2
for SMOTE-N.
Differs from the paper: numbers are standardised for the search; a missing one is filled by the
column's median for it, and a new row lacks the numbers that the nearer of its two rows lacks: were
new rows always complete, a gap would tell the class.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from mlexpert.errors import InputError

PAIRS = 1 << 22
"""Distances that are held at once."""
MOST_MARKS = 256
"""Values of a column that have a mark of their own; where there are more, rows are compared."""


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
        the nearer of the two rows that it lies between (S,), or of categories alone the row of its
        class that it is nearest to.

    Raises:
        InputError: If all columns hold categories and imbalanced-learn is not installed.
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
        k = min(k_neighbors, len(own) - 1)
        if k == 0:
            new, nearest = np.repeat(ready[own], aim - 1, axis=0), np.zeros(aim - 1, dtype=np.int64)
        elif kinds.all():
            new, nearest = _of_categories(ready, labels, label, aim, k, seed)
        else:
            new, nearest = _between(ready[own], kinds, aim - len(own), k, seed)
        gaps = np.isnan(table[own[nearest]])
        made.append(np.where(gaps, np.nan, new * scale + center))
        origins.append(own[nearest])
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


def _between(
    own: np.ndarray, kinds: np.ndarray, count: int, k: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (count, D) between rows of a class (n, D) and one of their k neighbours each.

    The draws are those of imbalanced-learn, one after the other; but for ties of categories, which
    it breaks by others.

    Returns:
        The new rows, and which of the two that each lies between is the nearer one (count,).
    """
    neighbors = _neighbors(own, kinds, k)
    draws = np.random.RandomState(seed % 2**32)
    row, which = np.divmod(draws.randint(len(own) * k, size=count), k)
    along = draws.uniform(size=(count, 1))
    other = neighbors[row, which]
    new = own[row] + along * (own[other] - own[row])
    around = own[neighbors[row]][:, :, kinds]  # (count, k, categories)
    new[:, kinds] = _most_frequent(around, draws)
    return new, np.where(along[:, 0] < 0.5, row, other)


def _neighbors(own: np.ndarray, kinds: np.ndarray, k: int) -> np.ndarray:
    """Return the k nearest other rows of each row (n, D), (n, k), the nearest first.

    Of numbers alone a row that has copies may be its own neighbour, as in imbalanced-learn.

    Where a category differs, the median deviation m of the columns of numbers is added to the
    squared distance as m^2 (Chawla et al. 2002, section 6.1).
    """
    numbers = own[:, ~kinds]
    if not kinds.any():  # by a tree, where columns are few
        return NearestNeighbors(n_neighbors=k + 1).fit(numbers).kneighbors(numbers)[1][:, 1:]
    size = np.median(numbers.std(axis=0))
    marked, wide = [numbers * np.sqrt(2)], []
    for column in own[:, kinds].T:
        codes, counts = np.unique(column, return_counts=True)
        shared = codes[counts > 1]  # what a single row has no other has
        if len(shared) > MOST_MARKS:
            wide.append(torch.from_numpy(column))
        else:
            marked.append(size * (column[:, None] == shared))
    # |a - b|^2 + m^2 (categories that differ), less what is the same for all b: |b|^2 - product.
    marks = torch.from_numpy(np.concatenate(marked, axis=1))
    squares = torch.from_numpy((numbers**2).sum(axis=1))
    nearest = []
    for start in range(0, len(own), step := max(1, PAIRS // len(own))):
        part = slice(start, start + step)
        distance = squares - marks[part] @ marks.T
        for column_codes in wide:
            alike = column_codes[part, None] == column_codes
            distance.sub_(alike.to(distance.dtype), alpha=size**2)
        itself = torch.arange(len(distance))
        distance[itself, start + itself] = torch.inf
        nearest.append(distance.topk(k, largest=False).indices)
    return torch.cat(nearest).numpy()


def _most_frequent(around: np.ndarray, draws: np.random.RandomState) -> np.ndarray:
    """Return what most of k neighbours have, of categories (S, k, C): (S, C); ties are drawn."""
    alike = (around[:, :, None] == around[:, None]).sum(axis=2)  # (S, k, C)
    chosen = (alike + draws.uniform(size=alike.shape)).argmax(axis=1)
    return np.take_along_axis(around, chosen[:, None], axis=1)[:, 0]


def _of_categories(
    rows: np.ndarray, labels: np.ndarray, label: int, aim: int, k: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return imbalanced-learn's rows (S, D) of categories alone, and the row each is nearest to.

    Raises:
        InputError: If imbalanced-learn is not installed.
    """
    try:
        from imblearn.over_sampling import SMOTEN
    except ImportError as error:
        raise InputError(
            "SMOTE of a table of categories alone needs the package imbalanced-learn: pip install "
            "'mlexpert[smote]'. Without it, 'imbalanced-cls/balanced-bagging' balances the "
            "classes, and 'imbalanced-cls' does without."
        ) from error
    sampler = SMOTEN(sampling_strategy={label: aim}, k_neighbors=k, random_state=seed % 2**32)
    new = sampler.fit_resample(rows, labels)[0][len(rows) :].astype(np.float64)
    search = NearestNeighbors(n_neighbors=1, metric="hamming").fit(rows[labels == label])
    return new, search.kneighbors(new, return_distance=False)[:, 0]
