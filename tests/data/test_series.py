from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Array2D, ClassLabel, Dataset, Features
from torch.utils.data import TensorDataset

from mlexpert.data.as_trained import read_inputs, read_labelled
from mlexpert.data.batches import epoch_cuts, row_lengths
from mlexpert.data.fingerprint import row_digests
from mlexpert.data.schema import describe, schema_from_json, schema_to_json
from mlexpert.data.sequences.series import SeriesStore, as_series
from mlexpert.data.sequences.series_picture import series_picture
from mlexpert.data.sequences.series_rows import holds_series, opened, read_series
from mlexpert.errors import InputError
from mlexpert.recipes import get
from tests.small_data import texts

N = 24
RNG = np.random.default_rng(0)
SERIES = [RNG.normal(size=(int(length), 2)).astype("f4") for length in RNG.integers(1, 9, N)]
WAVES = [one[:, 0] for one in SERIES]
LABELS = np.arange(N) % 2
PADDED = np.full((N, 9, 2), np.nan, "f4")
for row, one in zip(PADDED, SERIES, strict=True):
    row[: len(one)] = one


class Pairs(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(SERIES[index]), int(LABELS[index])


class Named(Pairs):
    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"wave": torch.from_numpy(SERIES[index]), "label": int(LABELS[index])}


def listed(values: list[np.ndarray]) -> list[Any]:
    return [one.tolist() for one in values]


FORMS: dict[str, Callable[[], Any]] = {
    "arrays": lambda: (SERIES, LABELS),
    "object array": lambda: (np.array([*SERIES, None], dtype=object)[:-1], LABELS),
    "tensors": lambda: ([torch.from_numpy(one) for one in SERIES], torch.from_numpy(LABELS)),
    "lists": lambda: (listed(SERIES), LABELS.tolist()),
    "padded": lambda: (PADDED, LABELS),
    "padded tensor": lambda: (torch.from_numpy(PADDED), LABELS),
    "pandas": lambda: (pd.Series(SERIES, index=range(5, N + 5)), pd.Series(LABELS, name="y")),
    "torch pairs": Pairs,
    "torch dicts": Named,
    "frame of arrays": lambda: pd.DataFrame({"wave": SERIES, "label": LABELS}),
    "frame of lists": lambda: pd.DataFrame({"wave": listed(SERIES), "label": LABELS}),
    "frame beside labels": lambda: (pd.DataFrame({"wave": SERIES}), LABELS),
    "dataset": lambda: Dataset.from_dict({"wave": listed(SERIES), "label": LABELS}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_reads_alike(form: str) -> None:
    ds = FORMS[form]()
    assert holds_series(opened(ds))
    rows = read_series(ds)["all"]
    assert rows.kind == "series" and rows.objective == "classification"
    assert rows.targets.tolist() == LABELS.tolist()
    for read, meant in zip(rows.inputs, SERIES, strict=True):
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, meant)


ONE_CHANNEL: dict[str, Callable[[], Any]] = {
    "padded": lambda: (PADDED[:, :, 0], LABELS),
    "lists": lambda: (listed(WAVES), LABELS),
    "tensors": lambda: TensorDataset(torch.from_numpy(PADDED[:, :, 0]), torch.from_numpy(LABELS)),
    "decoded audio": lambda: pd.DataFrame(
        {"audio": [{"array": one, "sampling_rate": 8000} for one in WAVES], "label": LABELS}
    ),
    "dataset": lambda: Dataset.from_dict({"wave": listed(WAVES), "label": LABELS}),
    "dataset of decoded audio": lambda: Dataset.from_dict(
        {"a": [{"array": w, "sampling_rate": 8000} for w in listed(WAVES)], "label": LABELS}
    ),
}


@pytest.mark.parametrize("form", ONE_CHANNEL)
def test_two_dimensions_are_one_channel(form: str) -> None:
    rows = read_series(ONE_CHANNEL[form](), sampling_rate=8000)["all"]
    for read, meant in zip(rows.inputs, WAVES, strict=True):
        np.testing.assert_array_equal(read, meant[:, None])


def test_features_of_fixed_shape_and_named_classes(tmp_path: Any) -> None:
    features = Features({"x": Array2D((3, 2), "float32"), "y": ClassLabel(names=["a", "b"])})
    ds = Dataset.from_dict({"x": RNG.normal(size=(N, 3, 2)), "y": LABELS}, features=features)
    rows = read_series(ds)["all"]
    assert rows.inputs[0].shape == (3, 2) and rows.class_names == {0: "a", 1: "b"}
    ds.to_parquet(tmp_path / "rows.parquet")
    again = read_series(tmp_path / "rows.parquet")["all"]
    assert all(map(np.array_equal, rows.inputs, again.inputs))


def test_a_parquet_file_keeps_groups_and_says_what_is_left_out(tmp_path: Any) -> None:
    ints = [(1000 * one).astype(np.int16) for one in WAVES]
    who = [f"s{number % 4}" for number in range(N)]
    frame = pd.DataFrame({"audio": ints, "label": LABELS, "who": who, "take": range(N)})
    frame.to_parquet(tmp_path / "rows.parquet")
    rows = read_series(tmp_path / "rows.parquet", group="who")["all"]
    assert rows.groups.tolist() == who and rows.input_names == ("audio",)
    assert "'take' left out" in " ".join(rows.notes) and "'who'" not in " ".join(rows.notes)
    np.testing.assert_array_equal(rows.inputs[0][:, 0], ints[0])
    plain = read_series((listed(ints), LABELS))["all"]  # the unit is the same in every form
    np.testing.assert_array_equal(rows.inputs[0], plain.inputs[0])


def test_splits_labels_and_weights() -> None:
    half = N // 2
    parts = {"train": (SERIES[:half], LABELS[:half]), "test": (SERIES[half:], LABELS[half:])}
    read = read_series(parts, sample_weight=np.arange(1.0, half + 1))
    assert {name: len(rows) for name, rows in read.items()} == {"train": half, "test": half}
    assert read["train"].weights[-1] == half and read["test"].weights is None
    sets = read_series((SERIES, [["a"], ["a", "b"]] * (N // 2)))["all"]
    assert sets.objective == "multilabel" and sets.targets[1] == ("a", "b")


def changed(row: int, value: Any) -> list[Any]:
    return [value if number == row else one for number, one in enumerate(SERIES)]


GAP = np.array([[1.0, 2.0], [np.nan, 1.0], [0.0, 0.0]])
BAD: dict[str, tuple[Any, str]] = {
    "empty": (changed(3, np.empty((0, 2))), "row 3 is an empty series: drop it"),
    "only padding": (changed(3, np.full((4, 2), np.nan)), "row 3 is an empty series"),
    "a gap": (changed(3, GAP), "row 3 has no finite number.* at step 1, channel 0: fill gaps"),
    "infinite": (changed(3, np.full((4, 2), np.inf)), "row 3 .* at step 0, channel 0"),
    "beyond 32 bits": (changed(3, np.full((4, 2), 1e300)), "row 3 .* 32 bits at step 0"),
    "channels": (changed(3, np.ones((4, 3))), "row 3 has 3 channels and the first has 2"),
    "missing": (changed(3, None), "row 3 is missing, and no series"),
    "words": ([["a", "b"]] * N, "row 0 is no series of numbers.*join each row to a text"),
    "uneven steps": (changed(3, [[1.0], [1.0, 2.0]]), "row 3 is no series of numbers"),
    "images": (np.ones((N, 4, 4, 3)), r"shape \(24, 4, 4, 3\); series are \(rows, steps\)"),
    "one number a row": (np.ones(N), r"shape \(24,\); series are"),
    "numbers": (list(range(N)), r"row 0 has shape \(\)"),
    "a table": (pd.DataFrame(np.ones((N, 3))), r"X is a table of 3 columns.*X.to_numpy\(\)"),
    "nothing": ([], "no rows"),
    "fewer": (SERIES[1:], "X has 23 rows and y has 24"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_series_are_named(case: str) -> None:
    values, message = BAD[case]
    with pytest.raises(InputError, match=message):
        read_series((values, [] if case == "nothing" else LABELS))


def test_which_column_is_meant_has_to_be_clear() -> None:
    frame = pd.DataFrame({"a": WAVES, "b": WAVES, "label": LABELS})
    with pytest.raises(InputError, match=r"2 columns hold lists of numbers \('a', 'b'\): name one"):
        read_series(frame)
    assert read_series(frame, inputs="b")["all"].input_names == ("b",)
    with pytest.raises(InputError, match="inputs='label' names no one column of lists"):
        read_series(frame, inputs="label")
    rates = [{"array": one, "sampling_rate": 8000} for one in WAVES]
    frame = pd.DataFrame({"audio": rates, "label": LABELS})
    with pytest.raises(InputError, match="8000 samples a second; sampling_rate=16000: resample"):
        read_series(frame, sampling_rate=16_000)
    frame.at[3, "audio"] = {"array": WAVES[3], "sampling_rate": 44_100}
    with pytest.raises(InputError, match="8000 and 44100 samples a second: resample"):
        read_series(frame)


def test_exchanged_axes_are_pointed_out() -> None:
    with pytest.warns(UserWarning, match="read as 100 channels of at most 6 steps"):
        read_series((np.zeros((N, 6, 100)), LABELS))
    read_series((np.zeros((N, 6, 12)), LABELS))  # no warning: nobody can tell


def test_what_is_no_series_is_told_apart() -> None:
    assert not holds_series(opened((["a text", "another"], [0, 1])))
    assert not holds_series(opened((pd.Series(["a text", "another"], index=[7, 8]), [0, 1])))
    assert not holds_series(opened((pd.DataFrame({"a": [1.0, 2.0]}), [0, 1])))
    assert not holds_series(opened(pd.DataFrame({"text": ["x", "y"], "labels": [[0], [1]]})))


def test_statistics_are_those_of_real_steps() -> None:
    rows = read_series((PADDED, LABELS))["all"]
    schema = describe(rows.select(np.arange(N), "train"))
    stats, steps = schema.series, np.concatenate(SERIES)
    assert stats.channels == 2 and stats.length_max == max(map(len, SERIES))
    assert stats.length_median == round(np.median([len(one) for one in SERIES]))
    np.testing.assert_allclose(stats.mean, steps.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(stats.std, steps.std(axis=0), atol=1e-6)
    assert schema_from_json(schema_to_json(schema)) == schema


def test_a_trained_model_reads_every_form_and_refuses_other_channels() -> None:
    schema = describe(read_series((SERIES, LABELS))["all"].select(np.arange(N), "train"))
    for form in FORMS:
        ds = FORMS[form]()
        rows = read_inputs(ds, kind="series", schema=schema)
        np.testing.assert_array_equal(rows.inputs[0], SERIES[0])
        assert rows.targets is None or len(rows.targets) == N
        labelled = read_labelled(ds, schema=schema, target=None)
        assert labelled.targets.tolist() == LABELS.tolist()
    for alone in (SERIES, PADDED, torch.from_numpy(PADDED), listed(SERIES), SERIES[:1]):
        rows = read_inputs(alone, kind="series", schema=schema)
        np.testing.assert_array_equal(rows.inputs[0], SERIES[0])
    with pytest.raises(InputError, match="1 channels; the model was trained on 2"):
        read_inputs(WAVES, kind="series", schema=schema)


def test_equal_series_have_equal_digests() -> None:
    rows = read_series(([*SERIES, SERIES[4].copy(), SERIES[4] + 1e-3], [*LABELS, 0, 1]))["all"]
    digests = row_digests(rows)
    assert (digests[4] == digests[N]).all() and len(np.unique(digests, axis=0)) == N + 1
    turned = read_series([SERIES[0].reshape(-1, 1)], for_prediction=True)["all"]
    assert (row_digests(turned)[0] != digests[0]).any()


def test_a_batch_is_padded_with_nan() -> None:
    store = SeriesStore.of(as_series(SERIES))
    index = torch.tensor([5, 0, 7])
    batch = store.take(index)
    assert batch.shape == (3, max(len(SERIES[row]) for row in index), 2)
    for row, number in zip(batch, index.tolist(), strict=True):
        length = len(SERIES[number])
        np.testing.assert_array_equal(row[:length], SERIES[number])
        assert row[length:].isnan().all()
    few = store.select(torch.tensor([7, 5]))
    assert torch.equal(few.take(torch.tensor([0])), store.take(torch.tensor([7])))
    lengths = torch.tensor([len(one) for one in SERIES])
    assert torch.equal(row_lengths(store), lengths)
    assert lengths[store.longest(3)].tolist() == lengths.sort(descending=True)[0][:3].tolist()
    cuts = epoch_cuts(store, 4, seed=0, epoch=0)
    assert sorted(torch.cat(cuts).tolist()) == list(range(N))
    spread = [int(lengths[cut].max() - lengths[cut].min()) for cut in cuts]
    assert max(spread) <= 3  # batches of alike lengths


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (500, 12)])
def test_a_picture_shows_lines(shape: tuple[int, int]) -> None:
    import io

    from PIL import Image

    series = np.random.default_rng(1).normal(size=shape).astype("f4")
    for one in (series, np.zeros_like(series)):
        pixels = np.asarray(Image.open(io.BytesIO(series_picture(one))))
        assert pixels.shape == (120, 240, 3) and 0 < (pixels < 255).any(axis=2).mean() < 0.6


def test_a_stream_that_can_be_read_once_is_read_once() -> None:
    class Once(torch.utils.data.IterableDataset):
        rows = iter(
            [(series.tolist(), label) for series, label in zip(SERIES, LABELS, strict=True)]
        )

        def __iter__(self):
            return self.rows

    parts = get("sequence-cls").read(Once())
    assert len(parts["all"]) == N
    assert get("sequence-cls").read(texts(), {"target": "label"})["all"].kind == "text"
