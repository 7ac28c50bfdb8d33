"""The values of a column by which results are reported: one by one, or quarters of its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

MOST_VALUES = 30
"""Values of a column that get a row each; the less frequent ones share one."""
MOST_NUMBERS = 10
"""Distinct numbers up to which a numeric column is taken value by value, not by quartiles."""
MISSING = "missing"


def values_of(series: pd.Series) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each value of a column, as a reader knows it, and where (N,) it stands."""
    from mlexpert.data.table import as_categories  # pandas: a report does without it

    names = as_categories(series)
    absent = names.isna().to_numpy()
    numbers = _numbers(names)
    if numbers is not None:
        yield from _quartiles(numbers, ~absent)
    else:
        texts = names.to_numpy(dtype=object)
        absent = absent | (texts == MISSING)
        counts = names[~absent].value_counts()
        order = sorted(counts.index, key=lambda name: (-counts[name], name))
        for name in order[:MOST_VALUES]:
            yield name, texts == name
        rest = order[MOST_VALUES:]
        if rest:
            plural = "value" if len(rest) == 1 else "values"
            yield f"other ({len(rest)} {plural})", names.isin(rest).to_numpy()
    if absent.any():
        yield MISSING, absent


def _numbers(names: pd.Series) -> np.ndarray | None:
    """Return a column's numbers (N,) with NaN for missing; None unless it is numbers, and many."""
    import pandas as pd

    present = names.dropna()
    if present.nunique() <= MOST_NUMBERS or present.str.match(r"-?0\d").any():
        return None
    numbers = pd.to_numeric(names, errors="coerce").to_numpy(dtype=np.float64)
    return numbers if np.isfinite(numbers[names.notna()]).all() else None


def _quartiles(numbers: np.ndarray, present: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the quarters of a numeric column, lowest first; equal numbers stay together."""
    known = numbers[present]
    cuts = np.unique(np.quantile(known, [0.25, 0.5, 0.75], method="lower"))
    # A number that fills more than a quarter ends a part; if it is the largest one, it begins it.
    column = numbers[:, None]
    part = (cuts <= column if cuts[0] == known.max() else cuts < column).sum(axis=1)
    masks = [present & (part == number) for number in np.unique(part[present])]
    yield from zip(_ranges([numbers[mask] for mask in masks]), masks, strict=True)


def _ranges(parts: list[np.ndarray]) -> list[str]:
    """Return a name for each part, with as many digits as keep the names apart."""
    names: list[str] = []
    for digits in range(4, 18):
        ends = [[_text(float(end), digits) for end in (one.min(), one.max())] for one in parts]
        names = [low if low == high else f"{low} to {high}" for low, high in ends]
        if len(set(names)) == len(names):
            break
    return names


def _text(value: float, digits: int) -> str:
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.{max(digits, len(str(int(abs(value)))) if abs(value) < 1e15 else 0)}g}"
