"""Targets that are numbers."""

from __future__ import annotations

import decimal

import numpy as np
import pandas as pd

from mlexpert.data.columns import refuse_missing
from mlexpert.data.examples import Kind
from mlexpert.errors import InputError

_FLOAT32_MAX = float(np.finfo(np.float32).max)


def read_values(series: pd.Series, where: str, kind: Kind) -> np.ndarray:
    """Return numbers to predict (N,), float64.

    Args:
        series: The numbers.
        where: How a message speaks of them.
        kind: What the inputs are: the message names the recipe that learns classes from them.

    Raises:
        InputError: They are missing, infinite or beyond 32 bits (by row), or no numbers.
    """
    classes = {"image": "image-cls", "text": "text-cls", "tabular": "tabular-cls"}[kind]
    advice = f"Classes and labels are predicted by the recipe {classes!r}"
    refuse_missing(series.isna(), where, "a number")
    first = series.iloc[0]
    if pd.api.types.is_object_dtype(series.dtype):
        numbers = int | float | np.integer | np.floating | decimal.Decimal
        wrong = [value for value in series if not isinstance(value, numbers)]
        wrong += [value for value in series if isinstance(value, bool)]
        if not wrong:
            series = pd.Series([float(value) for value in series])
        else:
            first = wrong[0]
    dtype = series.dtype
    if pd.api.types.is_bool_dtype(dtype) or not pd.api.types.is_numeric_dtype(dtype):
        shown = "booleans" if isinstance(first, bool | np.bool_) else f"values such as {first!r}"
        hint = " (of strings that are numbers: pandas.to_numeric)" if isinstance(first, str) else ""
        raise InputError(f"{where} holds {shown}, and numbers are to be predicted{hint}. {advice}")
    if pd.api.types.is_complex_dtype(dtype):
        raise InputError(f"{where} holds complex numbers: predict real and imaginary part apart")
    values = series.to_numpy(dtype=np.float64)
    bad = np.flatnonzero(~(np.abs(values) <= _FLOAT32_MAX))
    if len(bad):
        raise InputError(
            f"{where} holds {len(bad)} infinite (or beyond 32 bits) number(s), first in row "
            f"{bad[0]}: remove those rows, or change the unit"
        )
    return values


def refuse_constant(values: np.ndarray, where: str) -> None:
    """Raise an error where all numbers (N,) to learn from are equal.

    Raises:
        InputError: They are.
    """
    if values.min() == values.max():
        raise InputError(
            f"{where} holds the same number, {values[0].item()!r}, in all {len(values)} rows: "
            "there is nothing to learn"
        )
