"""Forecasts as tables, and tables of covariates to come as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mlexpert.data.nearest import listing
from mlexpert.data.sequences.calendars import times_of
from mlexpert.data.sequences.forecast_windows import Windows
from mlexpert.data.sequences.statistics import TimelineStats
from mlexpert.data.sequences.timeline import Span
from mlexpert.errors import InputError


def known_ahead(future: Any, stats: TimelineStats, span: Span, times: np.ndarray) -> np.ndarray:
    """Return the covariates (H, F) of the times to come of a series.

    Raises:
        InputError: If a column, a time or a value is missing.
    """
    needed = [stats.time, *([stats.series] if stats.series else []), *stats.future]
    if not isinstance(future, pd.DataFrame):
        raise InputError(
            f"future= is needed: a DataFrame with the columns {listing(needed)} of the steps to "
            f"come, {times[0]} to {times[-1]}."
        )
    missing = [name for name in needed if name not in future.columns]
    if missing:
        raise InputError(f"future= lacks the column(s) {listing(missing)}.")
    own = future if stats.series is None else future[future[stats.series].astype(str) == span.name]
    rows = pd.Series(np.arange(len(own)), index=times_of(own[stats.time], stats.time)[0])
    if rows.index.has_duplicates:
        raise InputError(f"future= holds a time of column {stats.time!r} more than once.")
    places = rows.reindex(times)
    values = own[list(stats.future)].to_numpy(dtype=np.float64, na_value=np.nan)
    absent = np.flatnonzero(places.isna())
    which = f" of series {span.name!r}" if span.name else ""
    if len(absent):
        raise InputError(
            f"future= lacks {len(absent)} of {len(times)} times{which}, first {times[absent[0]]}."
        )
    known = values[places.astype(int)]
    if not np.isfinite(known).all():
        row, column = np.argwhere(~np.isfinite(known))[0]
        raise InputError(
            f"future= has no value of {stats.future[column]!r} at {times[row]}{which}."
        )
    return known


def table_of(
    stats: TimelineStats,
    names: list[str],
    times: list[np.ndarray],
    values: np.ndarray,
    quantiles: list[float] | None,
) -> pd.DataFrame:
    """Return forecasts (S, H, K, Q) as a table."""
    table = pd.DataFrame({stats.time: np.concatenate(times)})
    if stats.series is not None:
        table[stats.series] = np.repeat(names, values.shape[1])
    if not quantiles:
        table[list(stats.targets)] = values[..., 0].reshape(len(table), -1)
        return table
    table = table.loc[table.index.repeat(len(stats.targets))].reset_index(drop=True)
    table["target"] = np.tile(stats.targets, len(table) // len(stats.targets))
    flat = values.reshape(len(table), -1)
    table["forecast"] = flat[:, quantiles.index(0.5)]
    table[[str(level) for level in quantiles]] = flat
    return table


def origins_of(windows: Windows, stats: TimelineStats) -> pd.DataFrame:
    """Return the last time that each window sees, and its series."""
    spans = windows.timeline.spans
    table = pd.DataFrame({"origin": windows.timeline.times[windows.starts + windows.context - 1]})
    if stats.series is not None:
        firsts = np.array([span.first for span in spans])
        own = np.searchsorted(firsts, windows.starts, side="right") - 1
        table[stats.series] = [spans[number].name for number in own]
    return table
