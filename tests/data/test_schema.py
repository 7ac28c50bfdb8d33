"""What a schema says of training rows."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mlexpert.data.encode import encode_table
from mlexpert.data.examples import Examples
from mlexpert.data.images import Images
from mlexpert.data.schema import (
    COARSE_GRID,
    FINE_GRID,
    MAX_CATEGORIES,
    Categorical,
    ImageStats,
    Numeric,
    Schema,
    TextStats,
    ValueStats,
    describe,
    schema_from_json,
    schema_to_json,
)
from mlexpert.data.table import as_numeric
from mlexpert.errors import InputError

RNG = np.random.default_rng(0)


def table(frame: pd.DataFrame, **fields) -> Examples:
    targets = np.arange(len(frame)) % 2
    return Examples(kind="tabular", inputs=frame, targets=targets, part="train", **fields)


def images(source: Images) -> Examples:
    return Examples(kind="image", inputs=source, targets=np.arange(len(source)) % 2, part="train")


def encoded(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def test_classes_are_sorted_and_counted():
    targets = np.array(["b", "a", "b", "c", "b", "a"], dtype=object)
    examples = Examples("tabular", pd.DataFrame({"x": np.arange(6.0)}), targets, part="train")
    schema = describe(examples)
    assert schema.classes == schema.class_names == ("a", "b", "c")
    assert schema.class_counts == (2, 3, 1)
    assert (schema.num_classes, schema.num_examples) == (3, 6)


@pytest.mark.parametrize(
    "labels", [[True, False, True], [2, -1, 2], [1.0, 2.0, 1.0], ["x", "y", "x"]]
)
def test_classes_are_python_values(labels):
    targets = np.array(labels, dtype=object if isinstance(labels[0], str) else None)
    schema = describe(Examples("tabular", pd.DataFrame({"x": [1.0, 2, 3]}), targets, part="train"))
    assert schema.classes == tuple(sorted(set(labels)))
    assert type(schema.classes[0]) is type(labels[0])
    assert all(type(count) is int for count in schema.class_counts)


def test_declared_names_are_shown_and_classes_without_rows_are_not():
    schema = describe(
        table(pd.DataFrame({"x": np.arange(4.0)}), class_names={0: "no", 1: "yes", 2: "?"})
    )
    assert schema.classes == (0, 1)
    assert schema.class_names == ("no", "yes")


@pytest.mark.parametrize("part", [None, "validation", "test"])
def test_only_training_rows_are_described(part):
    examples = Examples("tabular", pd.DataFrame({"x": [1.0, 2.0]}), np.array([0, 1]), part=part)
    with pytest.raises(InputError, match=f"train split only, .*{part or 'no split'}"):
        describe(examples)


def test_one_class_is_refused():
    examples = Examples("tabular", pd.DataFrame({"x": [1.0, 2.0]}), np.array([4, 4]), part="train")
    with pytest.raises(InputError, match=r"one class only .4 in all 2 rows"):
        describe(examples)


def test_numeric_statistics_are_those_of_numpy_on_float32():
    values = RNG.gamma(0.3, size=5_000) * 1e3
    values[::7] = np.nan
    (column,) = describe(table(pd.DataFrame({"x": values}))).columns
    present = values[~np.isnan(values)].astype(np.float32).astype(np.float64)
    assert isinstance(column, Numeric)
    assert column.missing == pytest.approx(np.isnan(values).mean(), abs=1e-12)
    np.testing.assert_allclose([column.mean, column.std], [present.mean(), present.std()])
    assert len(column.quantiles) == FINE_GRID
    levels = np.linspace(0, 1, FINE_GRID)
    np.testing.assert_allclose(column.quantiles, np.quantile(present, levels), rtol=1e-6)
    assert (np.diff(column.quantiles) >= 0).all()
    assert (np.float32(column.quantiles) == column.quantiles).all()
    assert (column.quantiles[0], column.quantiles[-1]) == (present.min(), present.max())


def test_ties_stay_exact_and_a_constant_has_no_spread():
    frame = pd.DataFrame({"zero": [0.1] * 50 + [0.7] * 50, "same": [0.1] * 100})
    ties, same = describe(table(frame)).columns
    low, high = float(np.float32(0.1)), float(np.float32(0.7))
    assert sorted({*ties.quantiles[:490], *ties.quantiles[-490:]}) == [low, high]
    assert set(same.quantiles) == {low}
    assert same.std < 1e-9


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(pd.date_range("2026-11-01", periods=160, freq="500ms")),
        pd.Series(np.arange(2.0**26, 2.0**26 + 160)),
    ],
)
def test_values_that_float32_would_merge_stay_apart(column: pd.Series):
    frame = pd.DataFrame({"x": as_numeric(column), "usual": RNG.normal(1e3, 1.0, len(column))})
    large, usual = describe(table(frame)).columns
    coded = encode_table(frame, (large, usual)).numpy()
    assert len(np.unique(coded[:, 0])) == len(column)
    np.testing.assert_allclose(np.diff(coded[:, 0]), np.diff(frame["x"]))
    assert (coded[:, 0].min(), coded[:, 0].max()) == (large.quantiles[0], large.quantiles[-1])
    assert usual.offset == 0.0  # and its values are what they were


def test_columns_without_values_are_constants():
    frame = pd.DataFrame({"n": [np.nan] * 4, "c": pd.Series([None] * 4, dtype="str")})
    number, category = describe(table(frame)).columns
    assert number == Numeric("n", 1.0, 0.0, 0.0, (0.0,) * FINE_GRID)
    assert category == Categorical("c", (), 1.0)


def test_wide_tables_have_a_coarse_grid():
    frame = pd.DataFrame(RNG.normal(size=(10, 101)), columns=[f"x{j}" for j in range(101)])
    assert len(describe(table(frame)).columns[0].quantiles) == COARSE_GRID


def test_categories_are_ordered_by_frequency_then_name():
    values = ["b", "a", "c", "c", None, "d", "d", "c"]
    (column,) = describe(table(pd.DataFrame({"c": pd.Series(values, dtype="str")}))).columns
    assert column == Categorical("c", ("c", "d", "a", "b"), 1 / 8)


def test_rare_categories_beyond_the_cap_are_left_out():
    names = [f"v{i:05d}" for i in range(MAX_CATEGORIES + 5)]
    values = pd.Series([*names, *names[-5:]], dtype="str")
    (column,) = describe(table(pd.DataFrame({"c": values}))).columns
    assert len(column.categories) == MAX_CATEGORIES
    assert set(column.categories[:5]) == set(names[-5:])
    assert column.categories[-1] == names[MAX_CATEGORIES - 6]


@pytest.mark.parametrize("as_items", [False, True])
def test_image_statistics_are_those_of_all_pixels(as_items):
    stack = RNG.integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)
    source = (
        Images.from_items([encoded(i) for i in stack]) if as_items else Images.from_array(stack)
    )
    stats = describe(images(source)).image
    assert (stats.channels, stats.height, stats.width, stats.uniform) == (3, 6, 5, True)
    np.testing.assert_allclose(stats.mean, stack.mean((0, 1, 2)) / 255)
    np.testing.assert_allclose(stats.std, stack.std((0, 1, 2)) / 255)


def test_float_images_have_statistics_in_their_own_scale():
    stack = RNG.random((10, 4, 4, 1), dtype=np.float32)
    stats = describe(images(Images.from_array(stack))).image
    np.testing.assert_allclose(stats.mean, stack.mean(dtype=float), rtol=1e-6)


def test_mixed_images_have_the_median_size_and_three_channels():
    sizes = [(4, 4), (6, 8), (10, 8)]
    source = Images.from_items(
        [np.zeros((*size, 1 + 2 * (i == 1)), np.uint8) for i, size in enumerate(sizes)]
    )
    stats = describe(images(source)).image
    assert (stats.channels, stats.height, stats.width, stats.uniform) == (3, 6, 8, False)


def test_image_statistics_read_no_more_than_the_sample(monkeypatch):
    monkeypatch.setattr("mlexpert.data.image_stats.IMAGE_SAMPLE", 10)
    read = []
    source = Images.from_items([encoded(np.full((2, 2), i, np.uint8)) for i in range(100)])
    decode = Images.decode
    monkeypatch.setattr(Images, "decode", lambda self, i: read.append(int(i)) or decode(self, i))
    stats = describe(images(source)).image
    assert read == list(range(0, 100, 11))
    assert stats.mean[0] == pytest.approx(49.5 / 255)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", ["stack", "floats", "items"])
def test_moments_of_patches_are_those_of_unfold(channels, form):
    stack = RNG.integers(0, 256, (9, 5, 7, channels), dtype=np.uint8)
    stack = np.maximum.accumulate(stack, axis=2)  # neighbours that are alike
    source = {
        "stack": lambda: Images.from_array(stack),
        "floats": lambda: Images.from_array((stack / 255).astype(np.float32)),
        "items": lambda: Images.from_items([encoded(image.squeeze()) for image in stack]),
    }[form]()
    stats = describe(images(source)).image
    pixels = torch.from_numpy(stack / 255).permute(0, 3, 1, 2)
    mean = pixels.mean((0, 2, 3), keepdim=True)
    std = pixels.std((0, 2, 3), keepdim=True, correction=0)
    patches = torch.nn.functional.unfold((pixels - mean) / std, 2)  # (N, 4C, P)
    flat = patches.transpose(1, 2).flatten(0, 1)
    expected = flat.T @ flat / len(flat)
    np.testing.assert_allclose(stats.patch_covariance, expected, rtol=1e-4, atol=1e-5)
    assert expected.diag().min() > 0.5
    assert np.abs(expected.numpy() - np.eye(4 * channels)).max() > 0.3


def test_moments_of_patches_need_one_size_and_two_pixels_each_way():
    mixed = Images.from_items([np.zeros((4, 4 + i), np.uint8) for i in range(3)])
    thin = Images.from_array(np.zeros((3, 1, 8), np.uint8))
    constant = Images.from_array(np.full((3, 4, 4), 9, np.uint8))
    assert describe(images(mixed)).image.patch_covariance == ()
    assert describe(images(thin)).image.patch_covariance == ()
    np.testing.assert_allclose(describe(images(constant)).image.patch_covariance, np.zeros((4, 4)))


def test_moments_of_patches_look_at_few_images(monkeypatch):
    stack = RNG.integers(0, 256, (50, 4, 4, 1), dtype=np.uint8)
    monkeypatch.setattr("mlexpert.data.image_stats.PATCH_SAMPLE", 8)
    stats = describe(images(Images.from_array(stack))).image
    few = stack[np.linspace(0, 49, 8).round().astype(int)] / 255
    corner = (few[:, :-1, :-1] - stats.mean[0]) / stats.std[0]
    assert stats.patch_covariance[0][0] == pytest.approx((corner**2).mean(), rel=1e-9)


def test_classes_count_as_their_rows_weigh():
    rows = table(pd.DataFrame({"x": np.arange(6.0)}), weights=np.array([1, 3, 1, 5, 1, 1.0]) / 7)
    schema = describe(rows)
    assert schema.class_counts == (3, 3)
    np.testing.assert_allclose(schema.prior_counts, np.array([3, 9]) * 6 / 12)
    assert schema_from_json(json.loads(json.dumps(schema_to_json(schema)))) == schema
    assert describe(table(rows.inputs)).prior_counts == (3, 3)


def test_labels_are_counted_by_the_rows_that_have_them():
    targets = np.empty(5, dtype=object)
    targets[:] = [("b",), (), ("a", "b"), ("b",), ("a", "c")]
    frame = pd.DataFrame({"x": np.arange(5.0)})
    schema = describe(Examples("tabular", frame, targets, "multilabel", part="train"))
    assert (schema.classes, schema.class_counts) == (("a", "b", "c"), (2, 3, 1))
    assert (schema.num_rows, schema.num_examples, schema.num_outputs) == (5, 5, 3)
    assert schema_from_json(json.loads(json.dumps(schema_to_json(schema)))) == schema
    one = describe(
        Examples("tabular", frame, targets, "multilabel", part="train").select(np.arange(2))
    )
    assert (one.classes, one.class_counts) == (("b",), (1,))


def test_numbers_have_moments_and_no_classes():
    targets = np.array([1.0, 4.0, -2.0, 0.5])
    frame = pd.DataFrame({"x": np.arange(4.0)})
    schema = describe(Examples("tabular", frame, targets, "regression", part="train"))
    assert schema.values == ValueStats(targets.mean(), targets.std(), -2.0, 4.0)
    assert (schema.classes, schema.num_rows, schema.num_outputs) == ((), 4, 1)
    again = schema_from_json(json.loads(json.dumps(schema_to_json(schema))))
    assert again == schema
    assert isinstance(again.values, ValueStats)


def test_numbers_whose_spread_is_lost_in_double_precision_are_refused():
    frame, targets = pd.DataFrame({"x": np.arange(4.0)}), np.array([0.0, 1e-200, 0.0, 1e-200])
    with pytest.raises(InputError, match="from 0.0 to 1e-200, .* change the unit"):
        describe(Examples("tabular", frame, targets, "regression", part="train"))


def test_a_schema_saved_before_objectives_still_loads():
    stack = RNG.integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    schema = describe(images(Images.from_array(stack)))
    old = json.loads(json.dumps(schema_to_json(schema)))
    for name in ("objective", "num_rows", "values"):
        del old[name]
    del old["image"]["patch_covariance"]
    loaded = schema_from_json(old)
    assert (loaded.objective, loaded.values, loaded.num_examples) == ("classification", None, 6)
    assert loaded.image.patch_covariance == ()
    assert loaded.classes == schema.classes


names = st.text(max_size=5)
floats = st.floats(allow_nan=False, allow_infinity=False)
labels = st.one_of(
    st.lists(st.integers(), min_size=2, max_size=4, unique=True),
    st.lists(names, min_size=2, max_size=4, unique=True),
    st.lists(floats, min_size=2, max_size=4, unique=True),
    st.just([False, True]),
)
columns = st.one_of(
    st.builds(Numeric, names, floats, floats, floats, st.lists(floats).map(tuple)),
    st.builds(Categorical, names, st.lists(names).map(tuple), floats),
)
pair = st.tuples(floats, floats)
image_stats = st.builds(
    ImageStats,
    st.just(1),
    st.integers(),
    st.integers(),
    st.booleans(),
    pair,
    pair,
    st.lists(pair, max_size=2).map(tuple),
)
schemas = labels.flatmap(
    lambda classes: st.builds(
        Schema,
        kind=st.sampled_from(["image", "text", "tabular"]),
        classes=st.just(tuple(classes)),
        class_names=st.just(tuple(map(str, classes))),
        class_counts=st.just(tuple(range(len(classes)))),
        image=st.none() | image_stats,
        text=st.none() | st.builds(TextStats, names, st.integers(), st.integers(), st.integers()),
        columns=st.lists(columns, max_size=3).map(tuple),
        objective=st.sampled_from(["classification", "multilabel", "regression"]),
        num_rows=st.integers(),
        values=st.none() | st.builds(ValueStats, floats, floats, floats, floats),
    )
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(schemas)
def test_json_gives_an_equal_schema_back(schema):
    plain = schema_to_json(schema)
    assert schema_from_json(plain) == schema
    again = schema_from_json(json.loads(json.dumps(plain)))
    assert again == schema
    assert [type(one) for one in again.classes] == [type(one) for one in schema.classes]
    assert hash(again) == hash(schema)


def test_real_schemas_survive_json():
    frame = pd.DataFrame({"n": RNG.normal(size=50), "c": pd.Series(["a", "b"] * 25, dtype="str")})
    schema = describe(table(frame))
    assert schema_from_json(json.loads(json.dumps(schema_to_json(schema)))) == schema


@pytest.mark.parametrize(
    "broken", [{}, {"kind": "text"}, {"columns": 3}, {"columns": [{"type": "?"}]}]
)
def test_json_that_is_no_schema_is_refused(broken):
    with pytest.raises(InputError, match="not the description of a schema"):
        schema_from_json(broken)
