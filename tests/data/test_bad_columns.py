"""Columns and texts of which little can be learned, or that are odd: they work, and are noted."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from mlexpert.data.as_trained import read_inputs
from mlexpert.data.column_notes import column_notes
from mlexpert.data.encode import FIRST_CODE, UNSEEN_CODE, encode_table, encode_texts
from mlexpert.data.intake import read
from mlexpert.data.schema import MAX_CATEGORIES, Numeric, Schema, describe
from mlexpert.data.splits import split
from mlexpert.errors import InputError

N = 60
LABELS = np.arange(N) % 2


def described(frame: pd.DataFrame, **arguments) -> Schema:
    return describe(split({"all": read(frame, target="label", **arguments)["all"]}).train)


def test_constant_and_empty_columns_are_noted():
    frame = pd.DataFrame(
        {
            "x": np.random.default_rng(0).normal(size=N),
            "same": 3,
            "word": "w",
            "flag": True,
            "none": None,
            "nan": np.nan,
            "label": LABELS,
        }
    )
    schema = described(frame)
    assert column_notes(schema) == [
        "column(s) 'none', 'nan' have no value in any training row",
        "column(s) 'same', 'word', 'flag' have one and the same value in all training rows",
    ]
    rows = read_inputs(frame.assign(nan=1.5, none="new"), kind="tabular", schema=schema)
    encoded = encode_table(rows.inputs, schema.columns)
    assert encoded.isfinite().all()
    names = [column.name for column in schema.columns]
    assert (encoded[:, names.index("none")] == UNSEEN_CODE).all()


DATES = pd.date_range("2024-01-30", periods=N, tz="UTC")


@pytest.mark.parametrize(
    "dates",
    [
        DATES,
        DATES.tz_localize(None),
        DATES.date,
        DATES.strftime("%Y-%m-%d"),
        DATES.strftime("%Y-%m-%dT%H:%M:%S+00:00"),
        DATES.strftime("%Y-%m-%d %H:%M").astype(object),
        pd.array(DATES.strftime("%Y-%m-%d"), dtype="string"),
    ],
)
def test_dates_are_seconds_and_noted(dates):
    frame = pd.DataFrame({"x": np.arange(N) % 7, "day": dates, "label": LABELS})
    examples = read(frame)["all"]
    assert (np.diff(examples.inputs["day"]) == 86_400).all()
    assert examples.inputs["day"].iloc[0] == DATES[0].timestamp()
    assert examples.notes == ("column(s) 'day' hold dates: they are read as seconds since 1970",)
    schema = described(frame)
    assert isinstance(schema.columns[1], Numeric)
    again = read_inputs(frame.head(3), kind="tabular", schema=schema).inputs
    pd.testing.assert_frame_equal(again, examples.inputs.head(3))
    frame["day"] = frame["day"].astype(object)
    frame.loc[1, "day"] = None
    assert np.isnan(read(frame)["all"].inputs["day"].iloc[1])
    frame.loc[1, "day"] = "soon"
    with pytest.raises(InputError, match="column 'day' must hold numbers; .*'soon'"):
        read_inputs(frame, kind="tabular", schema=schema)


def test_dates_in_a_csv_file_are_dates(tmp_path):
    frame = pd.DataFrame({"x": np.arange(N) % 7, "day": DATES.strftime("%Y-%m-%d"), "y": LABELS})
    frame.to_csv(tmp_path / "days.csv", index=False)
    assert read(tmp_path / "days.csv")["all"].inputs["day"].iloc[1] == DATES[1].timestamp()


@pytest.mark.parametrize(
    "odd", ["2024-13-01", "2024-01", "20240130", "a 2024-01-30", "2024-01-30x"]
)
def test_strings_of_which_one_is_no_date_are_categories(odd):
    frame = pd.DataFrame({"x": np.arange(N) % 7, "day": [*DATES.strftime("%Y-%m-%d")[:-1], odd]})
    examples = read(frame.assign(label=LABELS), inputs=["x", "day"])["all"]
    assert examples.inputs["day"].tolist() == frame["day"].tolist()


def test_booleans_are_numbers_and_their_names_are_categories():
    frame = pd.DataFrame(
        {"a": LABELS == 0, "b": np.where(LABELS, "True", "False"), "label": LABELS}
    )
    inputs = read(frame)["all"].inputs
    assert inputs["a"].tolist() == [1.0, 0.0] * 30
    assert inputs["b"].tolist() == ["False", "True"] * 30


def test_a_hundred_thousand_categories_take_seconds():
    rng = np.random.default_rng(0)
    n = 200_000
    levels = rng.integers(0, 100_000, n)
    frame = pd.DataFrame({"x": rng.normal(size=n), "city": [f"city {k}" for k in levels]})
    start = time.process_time()
    examples = read(frame.assign(label=levels % 2), inputs=["x", "city"])["all"]
    schema = describe(examples.select(np.arange(n), part="train"))
    encoded = encode_table(examples.inputs, schema.columns)
    assert time.process_time() - start < 10
    assert len(schema.columns[1].categories) == MAX_CATEGORIES
    assert "10,000 most frequent categories are kept" in column_notes(schema)[0]
    known = set(schema.columns[1].categories)
    expected = np.array([name in known for name in frame["city"]])
    np.testing.assert_array_equal(encoded[:, 1] >= FIRST_CODE, expected)
    counts = frame["city"].value_counts()
    assert counts[list(known)].min() >= counts[~counts.index.isin(known)].max()


def test_a_category_unseen_in_training_has_a_code_of_its_own():
    frame = pd.DataFrame({"x": np.arange(N) % 7, "job": ["smith", "clerk"] * 30, "label": LABELS})
    schema = described(frame)
    rows = read_inputs(frame.assign(job="pilot"), kind="tabular", schema=schema)
    assert (encode_table(rows.inputs, schema.columns)[:, 1] == UNSEEN_CODE).all()


ODD_TEXTS = {
    "empty": "",
    "spaces": " \t\n",
    "null bytes": "a\x00b \x00 c",
    "only null": "\x00",
    "arabic": "مرحبا بالعالم، هذا نص قصير",
    "chinese": "这是一个没有空格的句子",
    "emoji": "👩‍👩‍👧 ok 🏳️‍🌈",
    "combining": "e\u0301" * 200,
    "control": "\x1b[31mred\x07\u200b\ufeff",
    "one word": "x" * 10_000,
    "long": "many words " * 20_000,
}


@pytest.mark.parametrize("name", ODD_TEXTS)
def test_odd_texts_are_read_split_described_and_encoded(name):
    texts = [f"text number {i} of {i % 7} words" for i in range(N)]
    texts[5] = texts[40] = ODD_TEXTS[name]
    examples = read((texts, LABELS))["all"]
    assert examples.inputs[5] == ODD_TEXTS[name]
    splits = split({"all": examples})
    schema = describe(splits.train)
    ids, offsets = encode_texts(examples.inputs, schema.text.tokenizer, 64)
    lengths = offsets.diff()
    assert lengths.min() >= 1 and lengths.max() <= 64
    assert ids.max() < schema.text.vocab_size
    assert ids[offsets[5] : offsets[6]].tolist() == ids[offsets[40] : offsets[41]].tolist()


def test_half_a_character_is_refused_by_row():
    texts = [f"text number {i}" for i in range(N)]
    texts[3] = "half \ud83d"
    with pytest.raises(InputError, match=r"column 'x' holds, in row 3, half of a character"):
        read((texts, LABELS))
    with pytest.raises(InputError, match="column 'job' holds half of a character"):
        read(pd.DataFrame({"x": LABELS, "job": pd.Series(texts, dtype=object), "y": LABELS}))


def test_texts_that_are_all_empty_are_refused():
    with pytest.raises(InputError, match="distinct rows: too few"):
        split({"all": read(([""] * N, LABELS))["all"]})
