"""Times of rows: which column holds them, how far apart they are, and what is missing between."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlexpert.data.nearest import listing
from mlexpert.errors import InputError

if TYPE_CHECKING:
    from mlexpert.data.sequences.timeline import Span

_DAY = 86_400.0
_SEASONS = {"D": 7, "B": 5, "W": 52, "M": 12, "Q": 4, "Y": 1}
"""Steps of a season, by the letter that begins a frequency of pandas."""


@dataclass(frozen=True)
class TimeStep:
    """From one time to the next: as pandas writes it, empty for numbers; in seconds or units."""

    frequency: str
    length: float


def find_times(table: pd.DataFrame) -> str:
    """Return the one column of dates.

    Raises:
        InputError: If there is none, or more than one.
    """
    found = [str(name) for name in table.columns if _holds_dates(table[name])]
    if len(found) != 1:
        what = f"columns {listing(found)} all hold dates" if found else "no column holds dates"
        raise InputError(
            f"{what}: name the column of times with time=. Columns: {listing(table.columns)}."
        )
    return found[0]


def times_of(column: pd.Series, name: str) -> tuple[np.ndarray, list[str]]:
    """Return times (T,), datetime64 in UTC or float64, and what is to be said of them.

    Raises:
        InputError: If a time is missing, or is neither a date nor a number.
    """
    if column.isna().any():
        row = int(np.flatnonzero(column.isna())[0])
        raise InputError(f"column {name!r} has no time in row {row}: drop such rows.")
    if column.dtype.kind in "iuf":
        return column.to_numpy(dtype=np.float64), []
    try:
        times = _parsed(column)
    except (ValueError, TypeError) as error:
        raise InputError(f"column {name!r} cannot be read as times: {error}.") from error
    notes = []
    if times.dt.tz is not None:
        times, notes = times.dt.tz_convert("UTC").dt.tz_localize(None), ["times are in UTC"]
    return times.to_numpy().astype("datetime64[ns]"), notes


def step_of(times: np.ndarray, span: Span) -> TimeStep:
    """Return the step of a series; where it skips some, that of its beginning or most steps."""
    own = times[span.first : span.end]
    if len(own) < 2:
        raise InputError(f"one row a series ({own[0]}) is no series over time.")
    steps, counts = np.unique(np.diff(own), return_counts=True)
    usual = steps[counts.argmax()]
    if own.dtype.kind == "f":
        return TimeStep("", float(usual))
    frequency = None
    for piece in (own, own[:12], own[-12:]):
        if frequency is None and len(piece) >= 3:
            frequency = _inferred(piece)
    if frequency is None:
        frequency = pd.tseries.frequencies.to_offset(pd.Timedelta(usual)).freqstr
    return TimeStep(frequency, float(np.median(np.diff(own)) / np.timedelta64(1, "s")))


def refuse_gaps(times: np.ndarray, step: TimeStep, where: str) -> None:
    """Refuse times (T,) that skip a step.

    Args:
        times: Sorted, of one series.
        step: From one to the next.
        where: Begins the message; names the series.

    Raises:
        InputError: Naming the first gap and what to do.
    """
    due = times_after(times[0], len(times) - 1, step)
    if times.dtype.kind == "f":
        wrong = np.flatnonzero(~np.isclose(times[1:], due, rtol=0, atol=1e-6 * step.length))
    else:
        wrong = np.flatnonzero(times[1:] != due)
    if not len(wrong):
        return
    row = int(wrong[0])
    every = repr(step.frequency) if step.frequency else f"{step.length:g}"
    way = (
        f"table.set_index(time).asfreq({every}) adds the rows that are missing, for "
        "fill='forward' to fill"
        if step.frequency
        else "add the rows that are missing, for fill='forward' to fill"
    )
    raise InputError(
        f"{where}after {times[row]} comes {times[row + 1]}, where {due[row]} is due (one row every "
        f"{every}): {way}; or keep the rows on one side of the gap."
    )


def times_after(last: np.datetime64 | float, count: int, step: TimeStep) -> np.ndarray:
    """Return the `count` times that follow one."""
    if not step.frequency:
        return float(last) + step.length * np.arange(1, count + 1)
    found = pd.date_range(last, periods=count + 1, freq=step.frequency)
    if len(found) and found[0] == pd.Timestamp(last):
        found = found[1:]
    return found[:count].to_numpy().astype("datetime64[ns]")


def season_of(step: TimeStep) -> int:
    """Return the steps of a season: a day of what comes more often, a week of days; 1 for none."""
    if not step.frequency:
        return 1
    if step.length < _DAY:
        steps = _DAY / step.length
        return round(steps) if steps == round(steps) else 1
    letters = step.frequency.lstrip("0123456789")
    is_multiple = letters != step.frequency
    return 1 if is_multiple else _SEASONS.get(letters[:1], 1)


def _parsed(column: pd.Series) -> pd.Series:
    """Return a column as times; in UTC where their offsets differ, as over summer time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of formats that it has to guess
        try:
            return pd.to_datetime(column)
        except (ValueError, TypeError):
            return pd.to_datetime(column, utc=True)


def _inferred(times: np.ndarray) -> str | None:
    """Return the frequency of even times, whichever form pandas has for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a later pandas returns an offset
        found = pd.infer_freq(pd.DatetimeIndex(times))
    return found if found is None or isinstance(found, str) else found.freqstr


def _holds_dates(column: pd.Series) -> bool:
    if column.dtype.kind == "M":
        return True
    if column.dtype.kind in "iufcbm":
        return False
    some = column.dropna().head(20)
    if some.empty or not all(isinstance(value, str | date) for value in some):
        return False
    try:
        _parsed(some)
    except (ValueError, TypeError):
        return False
    return True
