"""Classes across parts: number them, and refuse a division in which one is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mlexpert.data.examples import Examples
from mlexpert.data.stratify import count_units
from mlexpert.errors import InputError

_WAYS_OUT = (
    "add rows, merge or drop the class, or bring your own split (a dict or DatasetDict with "
    "train, validation and test)"
)


def number_classes(parts: Mapping[str, Examples]) -> tuple[dict[str, np.ndarray], list]:
    """Number the labels of all parts together.

    Args:
        parts: The rows of each part.

    Returns:
        Class numbers (N,) of each part; and the K labels in that numbering, as messages show them.

    Raises:
        InputError: If there are no targets, a label is missing, or there is one class only.
    """
    import pandas as pd

    for name, part in parts.items():
        if part.targets is None:
            raise InputError(f"{name!r} has no targets to learn from: name the column with target=")
    # As objects, so that joining parts of different types changes no label.
    joined = np.concatenate([np.asarray(part.targets).astype(object) for part in parts.values()])
    codes, uniques = pd.factorize(joined)
    if (codes < 0).any():
        rows = np.flatnonzero(codes < 0)
        raise InputError(
            f"{len(rows)} rows have no label (first at row {rows[0]}): fill them in or drop these "
            "rows"
        )
    names: dict = {}
    for part in parts.values():
        names |= part.class_names or {}
    labels = [_show(label, names) for label in uniques]
    if len(labels) < 2:
        raise InputError(
            f"there is one class only, {labels[0]}: a classifier needs rows of at least two"
        )
    ends = np.cumsum([len(part) for part in parts.values()])[:-1]
    return dict(zip(parts, np.split(codes, ends), strict=True)), labels


def check_units(
    units: np.ndarray,
    classes: np.ndarray,
    labels: Sequence[str],
    names: Sequence[str],
    *,
    grouped: bool,
) -> None:
    """Refuse to divide rows in which a class has fewer units than there are parts.

    Args:
        units: (N,) unit of each row; the rows of a unit cannot be parted.
        classes: (N,) class of each row.
        labels: (K,) the classes as messages show them.
        names: The parts to make.
        grouped: Whether units are groups, for the message.

    Raises:
        InputError: If so; the message names the classes with their rows and units.
    """
    num_units, num_rows = count_units(units, classes), np.bincount(classes)
    short = np.flatnonzero(num_units < len(names))
    if not len(short):
        return
    what = "groups (groups that share a row count as one)" if grouped else "distinct rows"
    lines = [
        f"class {labels[k]} has {num_rows[k]} rows in {num_units[k]} {what}" for k in short[:10]
    ]
    more = f"; and {len(short) - 10} more classes" if len(short) > 10 else ""
    raise InputError(
        f"{'; '.join(lines)}{more}: too few for {listed(names)}, which need one each: {_WAYS_OUT}"
    )


def check_parts(
    dealt: np.ndarray,
    classes: np.ndarray,
    labels: Sequence[str],
    names: Sequence[str],
    *,
    by_time: bool,
) -> None:
    """Refuse a division in which a part lacks a class; by time, where only train has to have all.

    Args:
        dealt: (N,) part of each row, -1 for none.
        classes: (N,) class of each row.
        labels: (K,) the classes as messages show them.
        names: The parts, train first.
        by_time: Whether the rows were cut by time, which leaves no choice of rows.

    Raises:
        InputError: If so; the message names the class and the part.
    """
    for number, name in enumerate(names):
        held = np.bincount(classes[dealt == number], minlength=len(labels))
        if not held.any():
            raise InputError(
                f"no rows are left for {name}: all rows of its time share their content or group "
                "with an earlier part; give time= or group=, not both, or bring your own split"
            )
        if (held == 0).any() and not (by_time and number):
            k = int(np.argmin(held))
            total = int((classes == k).sum())
            how = "cut by time" if by_time else "dealt with groups and duplicates whole"
            raise InputError(
                f"class {labels[k]} ({total} rows) has none in {name} when rows are {how}: "
                f"{_WAYS_OUT}"
            )


def absent_classes(
    classes: Mapping[str, np.ndarray], labels: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Compare the classes of validation and test with those of train.

    Args:
        classes: Class numbers (N,) of each part.
        labels: (K,) the classes as messages show them.

    Returns:
        For each part but train, the training classes of which it has no row.

    Raises:
        InputError: If train has one class only, or lacks one that another part has.
    """
    known = set(np.unique(classes["train"]).tolist())
    if len(known) < 2:
        raise InputError(
            f"train has one class only, {labels[next(iter(known))]}: a classifier needs rows of "
            "at least two"
        )
    absent = {}
    for name, numbers in classes.items():
        here = set(np.unique(numbers).tolist())
        unknown = sorted(here - known)
        if unknown:
            counts = ", ".join(
                f"{labels[k]} ({int((numbers == k).sum())} rows)" for k in unknown[:10]
            )
            raise InputError(
                f"{name} has classes that train lacks: {counts}; add rows of them to train, or "
                f"drop them from {name}"
            )
        if name != "train":
            absent[name] = tuple(labels[k] for k in sorted(known - here))
    return absent


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them: "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _show(label: object, names: Mapping) -> str:
    shown = repr(label.item() if isinstance(label, np.generic) else label)
    name = names.get(label)
    return shown if name is None or str(name) == str(label) else f"{shown} ({name})"
