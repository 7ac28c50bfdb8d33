"""Kinds of columns and their normal forms."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlexpert.data.table import as_categories, as_numeric, column_kind, looks_like_text
from mlexpert.errors import InputError


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pd.Series([1, 2]), "numeric"),
        (pd.Series([1.5, None]), "numeric"),
        (pd.Series([True, False]), "numeric"),
        (pd.Series([True, None], dtype=object), "numeric"),
        (pd.Series([1, None], dtype="Int64"), "numeric"),
        (pd.Series([decimal.Decimal("1.5"), None]), "numeric"),
        (pd.Series([datetime.date(2024, 1, 1)] * 2), "numeric"),
        (pd.Series(pd.to_datetime(["2024-01-01"])), "numeric"),
        (pd.Series(pd.to_timedelta([1], unit="s")), "numeric"),
        (pd.Series(["1", "2"]), "categorical"),
        (pd.Series([1, "a"], dtype=object), "categorical"),
        (pd.Series([1, 2], dtype="category"), "categorical"),
        (pd.Series([None, None], dtype=object), "categorical"),
        (pd.Series([np.nan, np.nan]), "numeric"),
    ],
)
def test_kinds(values, kind):
    assert column_kind(values) == kind


@given(st.lists(st.one_of(st.none(), st.integers(-(2**50), 2**50)), min_size=1))
def test_integers_are_equal_however_stored(values):
    expected = np.array([np.nan if value is None else float(value) for value in values])
    forms = [pd.Series(values, dtype="Int64"), pd.Series(values, dtype=object), pd.Series(expected)]
    for series in forms:
        np.testing.assert_array_equal(as_numeric(series).to_numpy(), expected)
        texts = as_categories(series)
        assert [None if pd.isna(t) else t for t in texts] == [
            None if value is None else str(value) for value in values
        ]


def test_dates_in_every_unit_are_seconds():
    for unit in ("s", "ms", "us", "ns"):
        series = pd.Series(np.array(["1970-01-01T01:00", "NaT"], dtype=f"datetime64[{unit}]"))
        numbers = as_numeric(series)
        assert numbers[0] == 3_600
        assert np.isnan(numbers[1])
    assert as_numeric(pd.Series([datetime.date(1970, 1, 3), None])).iloc[0] == 2 * 86_400


def test_a_category_that_is_missing_stays_missing():
    for series in (
        pd.Series(["a", None, "b"]),
        pd.Series(["a", None, "b"], dtype=object),
        pd.Series(["a", None, "b"], dtype="category"),
        pd.Series(["a", None, "b"], dtype="string"),
    ):
        texts = as_categories(series)
        assert texts.isna().tolist() == [False, True, False]
        assert texts.dropna().tolist() == ["a", "b"]
    assert as_categories(pd.Series(pd.Categorical([None, None]))).isna().all()


@pytest.mark.parametrize("bad", [np.inf, -np.inf, 1e39])
def test_what_no_float32_holds_is_refused(bad):
    with pytest.raises(InputError, match=r"'v' holds 1 infinite .* first in row 1"):
        as_numeric(pd.Series([np.nan, bad, 1.0], name="v"))


def test_strings_that_are_numbers_are_read_and_others_are_named():
    assert as_numeric(pd.Series(["1", "2.5", None])).tolist()[:2] == [1.0, 2.5]
    with pytest.raises(InputError, match=r"'v' must hold numbers; 1 .*first 'x'"):
        as_numeric(pd.Series(["1", "x"], name="v"))


def test_free_text_is_told_from_categories():
    rng = np.random.default_rng(0)
    words = np.array(["good", "film", "bad", "plot", "a", "the", "very"])
    texts = pd.Series([" ".join(rng.choice(words, 8)) for _ in range(300)])
    jobs = pd.Series(rng.choice(["head of sales", "clerk", "data engineer"], 300))
    assert looks_like_text(texts, alone=True)
    assert looks_like_text(texts, alone=False)
    assert not looks_like_text(jobs, alone=True)
    assert not looks_like_text(jobs, alone=False)
    assert not looks_like_text(texts.astype("category"), alone=True)
    assert not looks_like_text(pd.Series(range(300)), alone=True)
    assert not looks_like_text(pd.Series([None] * 3, dtype=object), alone=True)
