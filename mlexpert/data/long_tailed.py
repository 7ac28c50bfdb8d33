"""The standard long-tailed subsets of balanced data, on which methods are compared.

Papers: Cui et al. 2019, arXiv:1901.05555, section 5.1 (exp: n_k falls from class to class by one
factor); Cao et al. 2019, arXiv:1906.07413, section 4 (step: the last half of the classes is rare);
Buda et al. 2018, arXiv:1710.05381 (step).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import pandas as pd

from mlexpert.data.arrays import labels_of
from mlexpert.data.columns import is_instance
from mlexpert.data.label_sets import are_sets
from mlexpert.data.nearest import did_you_mean, listing
from mlexpert.data.roles import find_target
from mlexpert.data.sources import SPLITS, load
from mlexpert.data.targets import read_labels
from mlexpert.errors import InputError

Profile = Literal["exp", "step"]
T = TypeVar("T")


def long_tail(
    ds: T,
    *,
    imbalance: float = 100.0,
    profile: Profile = "exp",
    target: str | None = None,
    largest: int | None = None,
    seed: int = 0,
) -> T:
    """Leave out rows so that classes become rarer, in the order of their labels.

    With n the rows of the first class and r the imbalance, class k of 0 to K - 1 keeps
    int(n r^(-k / (K - 1))) rows ("exp"), or n in the first half of the classes and int(n / r) in
    the last ("step"). CIFAR-10 at 100 has 5000, 2997, 1796, ..., 50 rows, 12,406 in all.

    Args:
        ds: A `datasets.Dataset`, a `DataFrame`, a pair (X, y), a torch map-style `Dataset`, or a
            `DatasetDict` or dict of such by split, of which only the train split is cut.
        imbalance: Rows of the most frequent class over those of the rarest, 1 or more.
        profile: "exp" or "step".
        target: The column of the labels; as in `fit`.
        largest: Rows of the most frequent class. None: as many as every class has.
        seed: Of the choice of rows within a class.

    Returns:
        Data of the same kind, rows in their order. Of a torch `Dataset`, a `Subset`.

    Raises:
        InputError: An argument is refused, the labels are not one class a row, or a class would
            keep no row, or more than it has.

    Example:
        >>> frame = pd.DataFrame({"x": range(40), "label": [0] * 20 + [1] * 20})
        >>> long_tail(frame, imbalance=10)["label"].value_counts().tolist()
        [20, 2]
    """
    _check(imbalance, profile, largest, seed)
    if isinstance(ds, Mapping):
        name = next((key for key in ds if SPLITS.get(str(key).lower()) == "train"), None)
        if name is None:
            raise InputError(f"there is no train split to be cut; splits: {listing(ds)}")
        rest: dict[Any, Any] = dict(ds)
        rest[name] = long_tail(
            ds[name],
            imbalance=imbalance,
            profile=profile,
            target=target,
            largest=largest,
            seed=seed,
        )
        return type(ds)(rest)  # type: ignore[call-arg]
    classes, codes = np.unique(_labels(ds, target), return_inverse=True)
    counts = np.bincount(codes)
    if len(classes) < 2:
        raise InputError("there is one class only: nothing can be rarer than it")
    kept = _kept(
        int(counts.min()) if largest is None else largest, len(classes), imbalance, profile
    )
    for label, has, keeps in zip(classes.tolist(), counts.tolist(), kept, strict=True):
        if not 1 <= keeps <= has:
            raise InputError(
                f"class {label!r} has {has} rows, and would keep {keeps}: choose a smaller "
                f"imbalance than {imbalance:g}, or largest="
            )
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(codes == k))[:n] for k, n in enumerate(kept)]
    return _select(ds, np.sort(np.concatenate(chosen)))


def _check(imbalance: float, profile: str, largest: int | None, seed: int) -> None:
    if profile not in get_args(Profile):
        hint = did_you_mean(str(profile), get_args(Profile))
        raise InputError(f"profile={profile!r}; it takes 'exp' or 'step'.{hint}")
    if isinstance(imbalance, bool | str) or not 1 <= imbalance < math.inf:
        raise InputError(
            f"imbalance={imbalance!r}; it is the rows of the most frequent class over those of the "
            "rarest, a number of 1 or more"
        )
    if largest is not None and largest < 1:
        raise InputError(f"largest={largest!r}; it takes a number of rows, at least 1")
    if seed < 0:
        raise InputError(f"seed={seed!r}; it has to be 0 or more")


def _kept(largest: int, num_classes: int, imbalance: float, profile: Profile) -> list[int]:
    """Return the rows (K,) that each class keeps.

    The formulas are those of the published code, to the last bit: where its rounding falls short
    of a whole number, a row is lost there as well.
    """
    share, half = 1 / imbalance, num_classes // 2
    if profile == "exp":
        return [int(largest * share ** (k / (num_classes - 1.0))) for k in range(num_classes)]
    return [largest] * (num_classes - half) + [int(largest * share)] * half


def _labels(ds: Any, target: str | None) -> np.ndarray:
    """Return the label (N,) of each row."""
    if isinstance(ds, tuple) and len(ds) == 2:
        labels, where = labels_of(ds[1]), "y"
        if len(ds[0]) != len(labels):
            raise InputError(
                f"X has {len(ds[0])} rows and y has {len(labels)}: they must be of the same length"
            )
        several = isinstance(labels, pd.DataFrame) or are_sets(labels)
    else:
        if isinstance(ds, str | Path) or is_instance(ds, "datasets", "IterableDataset"):
            raise InputError(
                f"long_tail chooses among rows that are there, and this is a {type(ds).__name__}: "
                "load the data first, e.g. with pandas.read_parquet or datasets.load_dataset"
            )
        columns = load(ds, target=target, for_prediction=False)["all"]
        name = find_target(columns, target, needed=True)
        where, several = f"target column {name!r}", not isinstance(name, str)
        several = several or name in columns.label_sets
        labels = None if several else columns.frame[name]
    if several:
        raise InputError(f"{where} holds sets of labels, and long_tail takes one class a row")
    return read_labels(labels, where)


def _select(ds: Any, rows: np.ndarray) -> Any:
    """Return the rows at `rows` (N',) of data of any kind, as data of that kind."""
    if isinstance(ds, tuple):
        return tuple(_select(column, rows) for column in ds)
    if is_instance(ds, "datasets", "Dataset"):
        return ds.select(rows)
    if isinstance(ds, pd.DataFrame | pd.Series):
        return ds.iloc[rows]
    if is_instance(ds, "torch.utils.data", "Dataset"):
        from torch.utils.data import Subset

        return Subset(ds, rows.tolist())
    if isinstance(ds, list):
        return [ds[row] for row in rows]
    return ds[rows]
