"""Series over time as a user has them, brought into one table of numbers and checked.

Rows are sorted by series and time. What a forecast cannot be made of is refused here, before
anything is trained: times that repeat, steps that are missing, values that are missing or no
numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from mlexpert.data import sources
from mlexpert.data.columns import Columns
from mlexpert.data.nearest import listing
from mlexpert.data.sequences.calendars import find_times, refuse_gaps, step_of, times_of
from mlexpert.data.sequences.timeline import PARTS, Layout, Span, Timeline
from mlexpert.data.sequences.timeline_checks import called, refuse_disorder, whole
from mlexpert.errors import InputError


def read_timeline(
    ds: Any,
    *,
    time: str | None = None,
    target: str | Sequence[str] | None = None,
    group: str | None = None,
    past: Sequence[str] = (),
    future: Sequence[str] = (),
    forward_fill: bool = False,
) -> Timeline:
    """Read series over time.

    Args:
        ds: A `DataFrame` (its index may be the times), the path of a csv or parquet file, a
            `datasets.Dataset`, or a dict of such by split, which follow one another in time.
        time: The column of times: dates, or numbers at even steps. None: the one column of dates.
        target: The columns to forecast. None: all numeric columns without another role.
        group: The column that names the series, where there are several.
        past: Covariates known up to now alone.
        future: Covariates known ahead.
        forward_fill: Give a missing value the last one before it, in place of refusing it.

    Raises:
        InputError: If a column is missing or of no use, times repeat or skip a step, a value is
            missing or not finite, or the splits do not follow one another.
    """
    loaded = sources.load(_with_times(ds, time), target=None, for_prediction=False)
    names = list(loaded)
    tables = [_table(columns, name) for name, columns in loaded.items()]
    notes = [note for columns in loaded.values() for note in columns.notes if "index" not in note]
    order = {"all": 0, **{name: number for number, name in enumerate(PARTS)}}
    layout = _layout(tables[0], time, target, group, tuple(past), tuple(future))
    for name, table in zip(names, tables, strict=True):
        _require(table, (layout.time, *layout.values), name)
    part = np.repeat([order[name] for name in names], [len(table) for table in tables])
    joined = pd.concat(tables, ignore_index=True)
    times, found = times_of(joined[layout.time], layout.time)
    notes += found
    series = _series_of(joined, layout.series)
    codes = np.unique(series, return_inverse=True)[1]
    by_time = np.lexsort((times, codes))
    if (by_time != np.arange(len(by_time))).any() and not _is_sorted(times, codes):
        notes.append("rows were not in the order of time, and were sorted")
    joined = joined.iloc[by_time]
    times, series, part = times[by_time], series[by_time], part[by_time].astype(np.int8)
    spans = _spans(series)
    for span in spans:
        refuse_disorder(times, part, span, layout.time)
    step = step_of(times, max(spans, key=lambda one: one.end - one.first))
    for span in spans:
        refuse_gaps(times[span.first : span.end], step, called(span))
    values = np.column_stack([_numbers(joined[name], name) for name in layout.values])
    layout = replace(layout, frequency=step.frequency, step=step.length)
    values, filled = whole(values, times, spans, layout, forward_fill)
    return Timeline(layout, spans, times, values, part, (*notes, *filled))


def _series_of(table: pd.DataFrame, column: str | None) -> np.ndarray:
    """Return the name (T,) of the series of each row; empty where there is one alone."""
    if column is None:
        return np.array([""] * len(table), dtype=object)
    if table[column].isna().any():
        raise InputError(f"column {column!r} names the series, and has missing values.")
    return table[column].astype(str).to_numpy(dtype=object)


def _with_times(ds: Any, time: str | None) -> Any:
    """Return frames whose index holds the times with these as a column."""
    if isinstance(ds, dict):
        return {name: _with_times(one, time) for name, one in ds.items()}
    if not isinstance(ds, pd.DataFrame) or not isinstance(ds.index, pd.DatetimeIndex):
        return ds
    if time is not None and time in ds.columns:
        return ds
    return ds.rename_axis(time or ds.index.name or "time").reset_index()


def _table(columns: Columns, part: str) -> pd.DataFrame:
    if columns.images or not len(columns):
        what = "no rows" if not len(columns) else f"images ({listing(columns.images)})"
        raise InputError(f"the {part} data has {what}; a forecast is of numbers over time.")
    return columns.frame


def _layout(
    table: pd.DataFrame,
    time: str | None,
    target: str | Sequence[str] | None,
    group: str | None,
    past: tuple[str, ...],
    future: tuple[str, ...],
) -> Layout:
    """Settle which column is what."""
    named = () if target is None else (target,) if isinstance(target, str) else tuple(target)
    given = [name for name in (time, group, *named, *past, *future) if name is not None]
    _require(table, given, "all")
    repeated = sorted({name for name in given if given.count(name) > 1})
    if repeated:
        raise InputError(f"column(s) {listing(repeated)} cannot have two roles at once.")
    time = time or find_times(table)
    if time in (group, *named, *past, *future):
        raise InputError(f"column {time!r} holds the times, and cannot have another role.")
    if not named:
        named = tuple(
            str(name)
            for name in table.columns
            if name not in (time, group, *past, *future) and table[name].dtype.kind in "iuf"
        )
    if not named:
        raise InputError(
            f"there is no column of numbers to forecast; columns: {listing(table.columns)}."
        )
    return Layout(time, group, named, past, future)


def _require(table: pd.DataFrame, names: Sequence[str], part: str) -> None:
    missing = [name for name in names if name not in table.columns]
    if missing:
        where = "" if part == "all" else f" in the {part} split"
        raise InputError(
            f"column(s) {listing(missing)} are missing{where}; columns: {listing(table.columns)}."
        )


def _numbers(column: pd.Series, name: str) -> np.ndarray:
    if column.dtype.kind not in "iufb":
        first = next(iter(column.dropna()), None)
        raise InputError(
            f"column {name!r} holds no numbers ({column.dtype}, first {first!r}): leave it out, or "
            "turn it into numbers."
        )
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _is_sorted(times: np.ndarray, codes: np.ndarray) -> bool:
    """Tell whether the rows of every series come in the order of time, whatever lies between."""
    stable = np.argsort(codes, kind="stable")
    times, codes = times[stable], codes[stable]
    return bool(((times[1:] >= times[:-1]) | (codes[1:] != codes[:-1])).all())


def _spans(series: np.ndarray) -> tuple[Span, ...]:
    starts = np.flatnonzero(np.r_[True, series[1:] != series[:-1]])
    ends = np.r_[starts[1:], len(series)]
    return tuple(
        Span(str(series[first]), int(first), int(end))
        for first, end in zip(starts, ends, strict=True)
    )
