from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mlexpert.data.seal import Sealed
from mlexpert.data.sequences.forecast_splits import divide_by_time, examples_of
from mlexpert.data.sequences.forecast_windows import WindowStore, digests_of_windows, windows_of
from mlexpert.data.sequences.timelines import read_timeline
from mlexpert.errors import InputError
from tests.data.test_timelines import hourly, two_series

L, H = 6, 3


def divided(ds, *, context: int = L, horizon: int = H, test: float = 0.2, **roles):
    parts = examples_of(read_timeline(ds, **roles), context=context, horizon=horizon)
    return divide_by_time(parts, validation=0.2, test=test)


def cut_out(values: np.ndarray, first: int, end: int) -> np.ndarray:
    """Return the windows of rows `first` to `end` by hand."""
    return np.stack([values[at : at + L + H] for at in range(first, end - L - H + 1)])


def test_windows_are_those_of_brute_force() -> None:
    frame = hourly(50)
    values = frame[["a", "b"]].to_numpy()
    splits = divided(frame)
    for part, (first, end) in {"train": (0, 30), "validation": (30 - L, 40)}.items():
        windows = getattr(splits, part).inputs
        store = WindowStore.of(windows)
        found = store.take(torch.arange(len(store)))
        np.testing.assert_array_equal(found, cut_out(values, first, end))
    assert isinstance(splits.test, Sealed) and len(splits.test) == 10 - H + 1


def test_windows_of_several_series_do_not_cross_from_one_to_the_next() -> None:
    frame = two_series(40)
    splits = divided(frame, group="shop")
    windows = splits.train.inputs
    found = WindowStore.of(windows).take(torch.arange(len(windows)))
    times = np.sort(frame["time"])
    until = frame[frame["time"] < times[round(0.6 * len(times))]]
    own = [until[until["shop"] == name][["a", "b"]].to_numpy() for name in "xy"]
    expected = np.concatenate([cut_out(one, 0, len(one)) for one in own])
    np.testing.assert_array_equal(found, expected)
    # One cut for all: no row that is forecast on validation is older than one of train.
    validation = splits.validation.inputs
    firsts = validation.timeline.times[validation.starts + L]
    assert firsts.min() > windows.timeline.times.max()


def test_nothing_is_materialised() -> None:
    frame = hourly(400)
    splits = divided(frame, context=100, horizon=50)
    store = WindowStore.of(splits.train.inputs)
    rows = torch.arange(20)
    assert store.windows.untyped_storage().data_ptr() == store.values.untyped_storage().data_ptr()
    assert store.select(rows).values.data_ptr() == store.values.data_ptr()
    assert store.nbytes < 3 * splits.train.inputs.timeline.values.nbytes
    windows = splits.train.inputs
    assert np.shares_memory(windows[rows.numpy()].timeline.values, windows.timeline.values)


def test_values_far_from_zero_keep_their_digits() -> None:
    frame = hourly(60)
    frame["a"] = 1e9 + np.arange(60) % 2
    store = WindowStore.of(windows_of(read_timeline(frame), 0, context=L, horizon=H))
    assert store.take(torch.arange(1))[0, :, 0].tolist() == [1e9, 1e9 + 1] * 4 + [1e9]


def test_train_sees_no_later_row() -> None:
    frame = hourly(50)
    splits = divided(frame)
    assert len(splits.train.inputs.timeline) == 30
    assert len(splits.validation.inputs.timeline) == L + 10
    assert splits.train.inputs.timeline.values[:, 0].max() == 29


def test_ett_protocol_has_its_window_counts(real_data: Path) -> None:
    frame = pd.read_csv(real_data / "ETTh1.csv.gz")
    ends = (0, 8640, 11520, 14400)
    ds = {
        name: frame[first:end]
        for name, first, end in zip(
            ("train", "validation", "test"), ends[:-1], ends[1:], strict=True
        )
    }
    splits = divided(ds, context=336, horizon=96)
    assert splits.test is not None
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (8209, 2785, 2785)


def test_user_made_parts_stay_and_a_missing_validation_is_the_end_of_train() -> None:
    frame = hourly(60)
    splits = divided({"train": frame[:50], "test": frame[50:]})
    assert len(splits.train.inputs.timeline) == 40 and len(splits.test) == 10 - H + 1
    assert splits.user_made == ("train", "test") and "validation (20%)" in splits.how
    assert divided(frame, test=0.0).test is None


def test_fingerprint_names_the_rows_and_not_the_windows() -> None:
    frame = hourly(60)
    one, other = divided(frame), divided(frame, horizon=4)
    own = divided({"train": frame[:36], "validation": frame[36:48], "test": frame[48:]})
    assert one.fingerprint == other.fingerprint == own.fingerprint
    assert one.split_fingerprint != other.split_fingerprint
    assert one.split_fingerprint == own.split_fingerprint
    changed = frame.assign(a=frame["a"] + (frame.index == 55))
    assert divided(changed).fingerprint != one.fingerprint
    digests = digests_of_windows(one.train.inputs)
    assert len(np.unique(digests, axis=0)) == len(one.train)


def test_groups_are_blocks_of_windows_that_overlap() -> None:
    windows = windows_of(read_timeline(two_series(20), group="shop"), 0, context=L, horizon=H)
    counts = np.bincount(windows.groups)
    assert len(windows) == 24 and counts.tolist() == [3] * 8


def test_too_short_a_part_is_refused_with_numbers() -> None:
    with pytest.raises(InputError, match=r"train has 6 rows.*context=6 and horizon=3 need 9"):
        divided(hourly(10))
    with pytest.raises(InputError, match=r"test has 8 rows.*with the history"):
        divided(
            {"train": hourly(50)[:30], "validation": hourly(50)[30:48], "test": hourly(50)[48:]}
        )
