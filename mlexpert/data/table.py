"""Columns of a table: which are numbers and which are categories, each in one normal form."""

from __future__ import annotations

import datetime
import decimal
import re
from typing import Literal

import numpy as np
import pandas as pd

from mlexpert.errors import InputError

ColumnKind = Literal["numeric", "categorical"]
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]|$)")
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def column_kind(series: pd.Series) -> ColumnKind:
    """Say what a column holds: numbers (also booleans, dates, durations) or categories.

    Strings that are all ISO 8601 dates are dates.

    Raises:
        InputError: Neither is possible.
    """
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "categorical"
    if isinstance(dtype, pd.StringDtype):
        return "numeric" if _dates_of(series) is not None else "categorical"
    if pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_numeric_dtype(dtype):
        if pd.api.types.is_complex_dtype(dtype):
            raise InputError(
                f"column {series.name!r} holds complex numbers: give real and imaginary parts"
            )
        return "numeric"
    if _is_date(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
        return "numeric"
    if not pd.api.types.is_object_dtype(dtype):
        raise InputError(
            f"column {series.name!r} is of type {dtype}, which is neither a number nor a "
            "category: convert it, or name the other columns with inputs="
        )
    present = series.dropna()
    numbers = bool | int | float | np.number | np.bool_ | decimal.Decimal | datetime.date
    if len(present) and all(isinstance(value, numbers) for value in present):
        return "numeric"
    if _dates_of(series) is not None:
        return "numeric"
    return "categorical"  # a column of None only is one without categories


def as_numeric(series: pd.Series) -> pd.Series:
    """Return numbers as floats, missing as NaN.

    Booleans become 0 and 1, dates seconds since 1970 (UTC), durations seconds.

    Raises:
        InputError: A value is no number, is infinite, or is too large for 32 bits.
    """
    values = _floats(series)
    with np.errstate(invalid="ignore"):
        bad = np.abs(values) > _FLOAT32_MAX
    if bad.any():
        rows = np.flatnonzero(bad)
        raise InputError(
            f"column {series.name!r} holds {len(rows)} infinite (or beyond 32 bits) value(s), "
            f"first in row {rows[0]}: replace them; missing values (NaN) are handled"
        )
    return pd.Series(values, index=series.index, name=series.name)


def _floats(series: pd.Series) -> np.ndarray:
    dtype = series.dtype
    if dtype in (np.float32, np.float64):
        return series.to_numpy()
    if isinstance(dtype, pd.CategoricalDtype):
        return _floats(series.astype(dtype.categories.dtype))
    dates = _dates_of(series)
    if dates is not None:
        series = dates
    if _is_date(series.dtype):
        if isinstance(series.dtype, pd.DatetimeTZDtype):
            series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        return ((series - pd.Timestamp(0)) / pd.Timedelta(seconds=1)).to_numpy(np.float64)
    if pd.api.types.is_timedelta64_dtype(series.dtype):
        return (series / pd.Timedelta(seconds=1)).to_numpy(np.float64)
    numbers = pd.to_numeric(series, errors="coerce")
    wrong = series[numbers.isna() & series.notna()]
    if len(wrong):
        dates = pd.to_datetime(wrong, format="ISO8601", utc=True, errors="coerce")
        wrong = wrong[dates.isna()] if dates.isna().any() else wrong  # what else spoils a column
        raise InputError(
            f"column {series.name!r} must hold numbers; {len(wrong)} value(s) are not, first "
            f"{wrong.iloc[0]!r}"
        )
    return numbers.to_numpy(np.float64, na_value=np.nan)


def holds_dates(series: pd.Series) -> bool:
    """Return whether a column holds dates: of a type of dates, or all strings of ISO 8601."""
    return _is_date(series.dtype) or _dates_of(series) is not None


def _dates_of(series: pd.Series) -> pd.Series | None:
    """Return a column of date objects or of ISO 8601 strings as dates (UTC); None for others."""
    dtype = series.dtype
    if not (pd.api.types.is_object_dtype(dtype) or isinstance(dtype, pd.StringDtype)):
        return None
    present = series.dropna()
    if present.empty:
        return None
    if isinstance(present.iloc[0], str):
        # Nearly every column of strings ends here, before any of it is parsed.
        if _ISO_DATE.match(present.iloc[0]) is None or _ISO_DATE.match(present.iloc[-1]) is None:
            return None
        dates = pd.to_datetime(series, format="ISO8601", utc=True, errors="coerce")
        return dates if len(dates.dropna()) == len(present) else None
    if all(isinstance(value, datetime.date) for value in present):
        return pd.to_datetime(series, utc=True)
    return None


def _is_date(dtype: object) -> bool:
    return isinstance(dtype, pd.DatetimeTZDtype) or (
        isinstance(dtype, np.dtype) and dtype.kind == "M"
    )


def as_categories(series: pd.Series) -> pd.Series:
    """Return categories as strings, missing as NaN.

    Whole numbers read alike however they were stored: 1 and 1.0 are both "1", because one missing
    value is enough to turn a column of integers into floats.
    """
    if isinstance(series.dtype, pd.StringDtype):
        return series.astype("str")
    if isinstance(series.dtype, pd.CategoricalDtype):
        names = as_categories(pd.Series(series.cat.categories))
        codes = series.cat.codes.to_numpy()
        texts = (
            names.to_numpy(dtype=object)[codes]
            if len(names)
            else np.full(len(series), np.nan, object)
        )
        texts[codes < 0] = np.nan
        return pd.Series(texts, index=series.index, name=series.name, dtype="str")
    texts = [
        np.nan if absent else _text(value)
        for value, absent in zip(series, series.isna(), strict=True)
    ]
    return _strings(pd.Series(texts, index=series.index, name=series.name, dtype=object))


def _strings(series: pd.Series) -> pd.Series:
    """Return a column in pandas' type of strings."""
    try:
        return series.astype("str")
    except UnicodeEncodeError as error:
        raise InputError(
            f"column {series.name!r} holds half of a character (a lone surrogate): {error}"
        ) from error


def _text(value: object) -> str:
    whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if whole else str(value)  # type: ignore[call-overload]


def looks_like_text(series: pd.Series, alone: bool) -> bool:
    """Guess whether a column of strings holds free text rather than categories.

    Args:
        series: The column.
        alone: Whether it is the only input, and so is more likely to be text: then many distinct
            values are enough.
    """
    present = series.dropna()
    sample = present.iloc[np.linspace(0, len(present) - 1, min(len(present), 2_000)).astype(int)]
    sample = _strings(sample)
    if (
        sample.empty
        or column_kind(series) != "categorical"
        or isinstance(series.dtype, pd.CategoricalDtype)
    ):
        return False
    words = sample.str.count(r"\S+").mean()
    distinct = sample.nunique() / len(sample)
    if alone:
        return bool(distinct > 0.5 or (words >= 2 and distinct > 0.05) or words >= 4)
    return bool(words >= 4 and distinct > 0.5)
