from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest

from mlexpert.data.sequences.calendars import TimeStep, season_of, times_after
from mlexpert.data.sequences.timelines import read_timeline
from mlexpert.errors import InputError


def hourly(rows: int = 50, **columns) -> pd.DataFrame:
    times = pd.date_range("2024-01-01", periods=rows, freq="h")
    values = np.arange(rows, dtype=float)
    return pd.DataFrame({"time": times, "a": values, "b": -values, **columns})


def two_series(rows: int = 30) -> pd.DataFrame:
    first = hourly(rows).assign(shop="x")
    later = hourly(rows + 5).iloc[5:].assign(shop="y")
    return pd.concat([first, later], ignore_index=True)


def test_reads_columns_times_and_step() -> None:
    timeline = read_timeline(hourly())
    assert timeline.layout.targets == ("a", "b") and timeline.layout.time == "time"
    assert (timeline.layout.frequency, timeline.layout.step) == ("h", 3600.0)
    assert timeline.values.shape == (50, 2) and timeline.notes == ()


def test_a_file_and_an_index_of_times_read_alike(tmp_path) -> None:
    frame = hourly()
    frame.to_csv(tmp_path / "rows.csv.gz", index=False)
    frame.to_parquet(tmp_path / "rows.parquet")
    for ds in (tmp_path / "rows.csv.gz", tmp_path / "rows.parquet", frame.set_index("time")):
        timeline = read_timeline(ds)
        np.testing.assert_array_equal(timeline.values, read_timeline(frame).values)
        np.testing.assert_array_equal(timeline.times, frame["time"].to_numpy())


def test_unsorted_rows_are_sorted_and_said_to_be() -> None:
    frame = hourly()
    shuffled = frame.sample(frac=1.0, random_state=0)
    timeline = read_timeline(shuffled)
    np.testing.assert_array_equal(timeline.values[:, 0], frame["a"])
    assert any("sorted" in note for note in timeline.notes)


def test_interleaved_series_are_in_order_and_nothing_is_said() -> None:
    frame = two_series().sort_values("time", kind="stable")
    timeline = read_timeline(frame, group="shop")
    assert [(span.name, span.first, span.end) for span in timeline.spans] == [
        ("x", 0, 30),
        ("y", 30, 60),
    ]
    assert timeline.notes == () and timeline.layout.targets == ("a", "b")


def test_summer_time_is_no_gap() -> None:
    times = pd.date_range("2024-03-30", periods=60, freq="h", tz="Europe/Berlin")
    timeline = read_timeline(hourly(60).assign(time=times))
    assert timeline.layout.frequency == "h" and any("UTC" in note for note in timeline.notes)


@pytest.mark.parametrize("freq", ["MS", "ME", "QS", "W-TUE", "B", "D", "15min", "YE"])
def test_calendar_steps_are_even(freq: str) -> None:
    times = pd.date_range("2000-01-31", periods=40, freq=freq)
    frame = hourly(40).assign(time=times)
    layout = read_timeline(frame).layout
    after = times_after(times[-1].to_datetime64(), 5, TimeStep(layout.frequency, layout.step))
    expected = pd.date_range("2000-01-31", periods=45, freq=freq)[-5:]
    np.testing.assert_array_equal(after, expected.to_numpy())


@pytest.mark.parametrize(
    ("frequency", "seconds", "season"),
    [("h", 3600, 24), ("15min", 900, 96), ("D", 86400, 7), ("MS", 2.6e6, 12), ("B", 86400, 5),
     ("W-TUE", 604800, 52), ("QS-OCT", 7.9e6, 4), ("", 1, 1), ("7min", 420, 1), ("2D", 172800, 1)],
)  # fmt: skip
def test_seasons(frequency: str, seconds: float, season: int) -> None:
    assert season_of(TimeStep(frequency, seconds)) == season


def test_numbers_may_be_times() -> None:
    timeline = read_timeline(hourly().assign(time=np.arange(50) * 0.1), time="time")
    after = times_after(timeline.times[-1], 2, TimeStep("", timeline.layout.step))
    np.testing.assert_allclose(after, [5.0, 5.1])


def test_forward_fill_takes_the_last_value_of_the_same_series() -> None:
    frame = two_series()
    frame.loc[[3, 4], "a"] = np.nan
    timeline = read_timeline(frame, group="shop", forward_fill=True)
    np.testing.assert_array_equal(timeline.values[2:6, 0], [2.0, 2.0, 2.0, 5.0])
    assert any("'a' (2)" in note for note in timeline.notes)
    frame.loc[30, "a"] = np.nan  # the first row of y: x must not fill it
    with pytest.raises(InputError, match="series 'y'.*no value before it"):
        read_timeline(frame, group="shop", forward_fill=True)


def with_value(value, row: int = 7) -> pd.DataFrame:
    frame = hourly()
    frame.loc[row, "b"] = value
    return frame


BAD = {
    "repeated time": (
        pd.concat([hourly(), hourly().iloc[[5]]]), {}, r"2024-01-01T05.*more than once"),
    "gap": (hourly().drop(index=9), {}, r"after 2024-01-01T08.*T10.*T09.*is due.*asfreq"),
    "gap in numbers": (
        hourly().assign(time=np.r_[0:20, 21:51]), {"time": "time"}, "after 19.*21.*20.*is due"),
    "missing value": (with_value(np.nan), {}, r"'b' has no value at 2024-01-01T07.*fill='forward'"),
    "infinite value": (with_value(np.inf), {}, r"'b' is infinite at 2024-01-01T07"),
    "words as target": (hourly(c="x"), {"target": "c"}, "'c' holds no numbers.*'x'"),
    "no numbers": (hourly()[["time"]].assign(c="x"), {}, "no column of numbers"),
    "no times": (hourly().drop(columns="time"), {}, "no column holds dates.*time="),
    "two times": (hourly(then=hourly()["time"]), {}, "'then'.*all hold dates"),
    "missing time": (hourly().assign(time=[None, *hourly()["time"][1:]]), {}, "no time in row 0"),
    "no such target": (hourly(), {"target": "z"}, "'z' are missing; columns"),
    "no such covariate": (hourly(), {"past": ("z",)}, "'z' are missing"),
    "two roles": (hourly(), {"target": "a", "future": ("a",)}, "'a' cannot have two roles"),
    "time as target": (hourly(), {"target": "time", "time": "time"}, "'time' cannot have two"),
    "not times": (hourly().assign(time="x"), {"time": "time"}, "cannot be read as times"),
    "one row": (hourly(1), {}, "is no series over time"),
    "no rows": (hourly(0), {}, "no rows"),
    "unnamed series": (two_series().assign(shop=None), {"group": "shop"}, "missing values"),
    "several series": (two_series(), {}, "more than once.*group="),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_forecast_is_refused_by_name(name: str) -> None:
    ds, roles, message = BAD[name]
    with pytest.raises(InputError, match=message):
        read_timeline(ds, **roles)


def test_splits_follow_one_another() -> None:
    frame = hourly()
    timeline = read_timeline({"train": frame[:30], "validation": frame[30:40], "test": frame[40:]})
    np.testing.assert_array_equal(timeline.parts, np.repeat([0, 1, 2], [30, 10, 10]))
    with pytest.raises(InputError, match="validation begins before train ends"):
        read_timeline({"train": frame[:30], "validation": frame[29:40]})
    with pytest.raises(InputError, match="test begins before validation ends"):
        read_timeline({"train": frame[:20], "validation": frame[30:], "test": frame[20:30]})
    with pytest.raises(InputError, match="is due"):
        read_timeline({"train": frame[:30], "validation": frame[31:40]})


def test_dates_as_objects_are_times() -> None:
    days = [datetime.date(2024, 1, 1) + datetime.timedelta(days=one) for one in range(50)]
    assert read_timeline(hourly().assign(time=days)).layout.frequency == "D"
