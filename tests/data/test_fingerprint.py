from __future__ import annotations

import io
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mlexpert.data.examples import Examples
from mlexpert.data.fingerprint import fingerprint, number_rows, row_digests, split_fingerprint
from mlexpert.data.images import Images


def table(columns: dict, targets=None) -> Examples:
    frame = pd.DataFrame(columns)
    return Examples("tabular", frame, None if targets is None else np.asarray(targets))


def texts(*values: str) -> Examples:
    return Examples("text", np.array(values, dtype=object))


def test_a_label_does_not_change_a_digest():
    columns = {"a": [1.5, 2.5], "b": ["x", "y"]}
    np.testing.assert_array_equal(
        row_digests(table(columns, ["no", "no"])), row_digests(table(columns, ["yes", "no"]))
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Free  ENTRY\n now ", "free entry now"),
        ("Straße", "STRASSE"),
        ("ﬁne", "fine"),
        ("é", "e\u0301"),
        ("\uff26\uff35\uff2c\uff2c", "full"),
    ],
)
def test_texts_are_equal_after_normal_form_case_and_space(first, second):
    one, two = row_digests(texts(first, second))
    np.testing.assert_array_equal(one, two)


def test_texts_that_differ_have_different_digests():
    digests = row_digests(texts("ab c", "a bc", "abc", "abc.", "", "ä"))
    assert len(np.unique(digests, axis=0)) == 6


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.array([1, 2, 3]), np.array([1.0, 2.0, 3.0])),
        (np.array([1, 2, 3], dtype=np.int8), pd.array([1, 2, 3], dtype="Int64")),
        (np.array([-0.0, 1.0]), np.array([0.0, 1.0])),
        (np.array([True, False]), np.array([1, 0])),
        (np.array([1, None, 2], dtype=object), np.array([1.0, np.nan, 2.0])),
        (pd.array([1, None], dtype="Int64"), np.array([1.0, np.nan])),
        (np.array(["a", None], dtype=object), pd.array(["a", pd.NA], dtype="string")),
        (pd.Categorical(["a", "b"]), np.array(["a", "b"], dtype=object)),
        (pd.Categorical([3, 4]), np.array([3, 4])),
        (np.array([Decimal("0.5"), Decimal("2")], dtype=object), np.array([0.5, 2.0])),
        (np.array([2.0**60, 1.0]), np.array([2**60, 1])),
        (
            pd.to_datetime(["2020-01-01", "2021-02-03"]).as_unit("ns"),
            pd.to_datetime(["2020-01-01", "2021-02-03"]).as_unit("s"),
        ),
    ],
)
def test_values_are_equal_whatever_their_type(first, second):
    np.testing.assert_array_equal(
        row_digests(table({"a": first})), row_digests(table({"a": second}))
    )


def test_values_that_differ_have_different_digests():
    mixed = np.array([0, 1, "1", "a", "A", "", None, 2**53, 2**53 + 1, 2**53 + 2], dtype=object)
    assert len(np.unique(row_digests(table({"a": mixed})), axis=0)) == len(mixed)
    identifiers = np.arange(2**60, 2**60 + 100)  # float64 would merge them
    assert len(np.unique(row_digests(table({"a": identifiers})), axis=0)) == 100


def test_the_order_of_columns_does_not_matter_and_their_names_do():
    first = row_digests(table({"a": [1, 2], "b": [2, 1]}))
    np.testing.assert_array_equal(first, row_digests(table({"b": [2, 1], "a": [1, 2]})))
    assert len(np.unique(first, axis=0)) == 2  # (1, 2) is not (2, 1)
    assert not np.array_equal(first, row_digests(table({"a": [1, 2], "c": [2, 1]})))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 1.5]), st.sampled_from("ab")), min_size=1))
def test_equal_digests_mean_equal_rows(rows):
    frame = pd.DataFrame(rows, columns=["x", "s"])
    numbers = number_rows(row_digests(Examples("tabular", frame)))[0]
    expected = frame.groupby(["x", "s"]).ngroup().to_numpy()
    pairs = set(zip(numbers.tolist(), expected.tolist(), strict=True))
    assert len(pairs) == len(set(numbers.tolist())) == len(set(expected.tolist()))


def test_an_image_is_its_pixels_not_its_file():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8)
    files = []
    for image, kind in [
        (Image.fromarray(pixels), "PNG"),
        (Image.fromarray(pixels), "BMP"),
        (Image.fromarray(pixels).convert("RGB"), "PNG"),
    ]:
        file = io.BytesIO()
        image.save(file, kind)
        files.append(file.getvalue())
    other = np.ascontiguousarray(pixels.reshape(7, 5))  # the same bytes in another shape
    digests = row_digests(Examples("image", Images.from_items([*files, pixels, other])))
    assert len(np.unique(digests[:4], axis=0)) == 1
    assert len(np.unique(digests, axis=0)) == 2


def test_float_images_equal_the_bytes_they_were_made_from_and_faint_ones_stay_apart():
    stack = np.random.default_rng(0).integers(0, 256, (3, 4, 4), dtype=np.uint8)
    as_bytes = row_digests(Examples("image", Images.from_array(stack)))
    floats = (stack / 255.0).astype(np.float32)
    as_floats = row_digests(Examples("image", Images.from_array(floats)))
    np.testing.assert_array_equal(as_bytes, as_floats)
    faint = np.full((2, 4, 4), 0.001, dtype=np.float32)
    faint[1] = 0.0015
    faint[:, 0, 0] = 0.5
    assert len(np.unique(row_digests(Examples("image", Images.from_array(faint))), axis=0)) == 2


def test_the_fingerprint_names_labelled_rows_in_any_order_and_division():
    rng = np.random.default_rng(0)
    data = table({"a": rng.integers(0, 5, 40)}, rng.integers(0, 2, 40))
    whole = fingerprint({"all": data})
    order = rng.permutation(40)
    assert fingerprint({"all": data.select(order)}) == whole
    parts = {"train": data.select(order[:30]), "test": data.select(order[30:])}
    assert fingerprint(parts) == whole
    assert fingerprint(parts, {k: row_digests(v) for k, v in parts.items()}) == whole
    flipped = data.targets.copy()
    flipped[0] = 1 - flipped[0]
    assert fingerprint({"all": table({"a": data.inputs["a"]}, flipped)}) != whole
    assert fingerprint({"all": data.select(np.arange(39))}) != whole
    assert fingerprint({"all": data.select(np.append(np.arange(40), 0))}) != whole
    assert len(whole) == 64


def test_the_split_fingerprint_names_the_division():
    data = table({"a": np.arange(10)}, np.arange(10) % 2)
    first = {"train": data.select(np.arange(6)), "test": data.select(np.arange(6, 10))}
    shuffled = {"test": data.select(np.array([9, 8, 7, 6])), "train": data.select(np.arange(6))}
    second = {"train": data.select(np.arange(7)), "test": data.select(np.arange(7, 10))}
    assert split_fingerprint(first) == split_fingerprint(shuffled)
    assert split_fingerprint(first) != split_fingerprint(second)


def test_known_duplicates_of_real_data_are_found(real_data):
    frame = pd.read_parquet(real_data / "mammography.parquet")
    inputs = frame.drop(columns=frame.columns[-1])
    numbers = number_rows(row_digests(Examples("tabular", inputs)))[0]
    assert len(inputs) - len(np.unique(numbers)) == inputs.duplicated().sum() == 3335
    texts = pd.read_parquet(real_data / "sms_spam.parquet")["text"]
    numbers = number_rows(row_digests(Examples("text", texts.to_numpy(dtype=object))))[0]
    assert len(texts) - len(np.unique(numbers)) >= texts.duplicated().sum() > 400
