from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from mlexpert.data.examples import Examples
from mlexpert.data.fingerprint import fingerprint, number_rows, row_digests
from mlexpert.data.images import Images
from mlexpert.data.seal import Sealed
from mlexpert.data.splits import Splits, split
from mlexpert.errors import InputError

PARTS = ("train", "validation", "test")


def rows(values, targets, groups=None, times=None, **fields) -> Examples:
    return Examples(
        "tabular",
        pd.DataFrame({"a": np.asarray(values), "row": 0}),
        np.asarray(targets),
        groups=None if groups is None else np.asarray(groups),
        times=None if times is None else np.asarray(times),
        **fields,
    )


def distinct(targets, **roles) -> Examples:
    return rows(np.arange(len(targets)), targets, **roles)


def opened(splits: Splits) -> dict[str, Examples]:
    """The parts with the test rows, which only a test may take this way."""
    parts = {"train": splits.train, "validation": splits.validation}
    return parts if splits.test is None else {**parts, "test": splits.test._release()}


def class_table(splits: Splits, labels) -> np.ndarray:
    return np.array([[(p.targets == k).sum() for k in labels] for p in opened(splits).values()])


def test_every_class_has_its_exact_share():
    targets = np.repeat(["a", "b", "c"], [1000, 200, 20])
    splits = split({"all": distinct(np.random.default_rng(0).permutation(targets))})
    assert class_table(splits, "abc").tolist() == [[700, 140, 14], [150, 30, 3], [150, 30, 3]]
    assert [part.part for part in opened(splits).values()] == list(PARTS)
    assert splits.user_made == ()
    assert "stratified by class" in splits.how and "seed 0" in splits.how


def test_shares_agree_with_sklearn_on_real_data(real_data):
    frame = pd.read_parquet(real_data / "phoneme.parquet")
    target = frame.columns[-1]
    data = Examples("tabular", frame.drop(columns=[target]), frame[target].to_numpy())
    splits = split({"all": data})
    rest, _ = train_test_split(data.targets, test_size=0.15, stratify=data.targets, random_state=0)
    counts = class_table(splits, [0, 1])
    assert np.abs(counts[:2].sum(axis=0) - np.bincount(rest)).max() <= 2
    numbers = number_rows(*(splits.digests[part] for part in PARTS))
    assert not set(numbers[0]) & set(numbers[1]) and not set(numbers[0]) & set(numbers[2])


def test_three_rows_are_enough_for_a_class_and_two_are_not():
    splits = split({"all": distinct(["a"] * 50 + ["b"] * 3)})
    assert class_table(splits, "b").tolist() == [[1], [1], [1]]
    with pytest.raises(InputError, match=r"class 'b' has 2 rows in 2 distinct rows.*too few"):
        split({"all": distinct(["a"] * 50 + ["b"] * 2)})
    assert class_table(split({"all": distinct(["a"] * 50 + ["b"] * 2)}, test=0), "b").tolist() == [
        [1],
        [1],
    ]
    names = {"b": "beetle"}
    with pytest.raises(InputError, match=r"'b' \(beetle\) has 9 rows in 1 distinct rows"):
        split({"all": rows([*range(50), *[99] * 9], ["a"] * 50 + ["b"] * 9, class_names=names)})
    groups = np.where(np.arange(80) % 2, np.arange(80) % 4, np.arange(80) + 100)
    with pytest.raises(InputError, match="class 'b' has 40 rows in 2 groups"):
        split({"all": distinct(["a", "b"] * 40, groups=groups)})


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_invariants_of_a_dealt_split(data):
    """No content on two sides, groups whole, every row once, every class everywhere."""
    num_classes = data.draw(st.integers(2, 4))
    n = data.draw(st.integers(40, 160))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    targets = np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, n)])
    values = rng.integers(0, data.draw(st.sampled_from([25, 100, 10_000])), len(targets))
    grouped = data.draw(st.booleans())
    groups = (
        rng.integers(0, data.draw(st.sampled_from([30, 80])), len(targets)) if grouped else None
    )
    examples = rows(values, targets, groups=groups)
    seed = data.draw(st.integers(0, 5))
    try:
        splits = split({"all": examples}, seed=seed)
    except InputError as error:
        assert "too few" in str(error) or "has none in" in str(error)
        return
    parts = opened(splits)
    assert sum(map(len, parts.values())) == len(examples)
    assert sorted(np.concatenate([p.inputs.index for p in parts.values()])) == list(
        range(len(examples))
    )
    for first, second in [("train", "validation"), ("train", "test"), ("validation", "test")]:
        a, b = parts[first], parts[second]
        assert not set(a.inputs["a"]) & set(b.inputs["a"])
        if grouped:
            assert not set(a.groups) & set(b.groups)
    for name, part in parts.items():
        assert set(part.targets) == set(range(num_classes))
        np.testing.assert_array_equal(splits.digests[name], row_digests(part))
        assert (np.diff(part.inputs.index) > 0).all()  # rows keep their order
    again = split({"all": examples}, seed=seed)
    assert again.split_fingerprint == splits.split_fingerprint
    assert splits.fingerprint == fingerprint({"all": examples})


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(3, 60), min_size=2, max_size=6),
    st.sampled_from([(0.15, 0.15), (0.1, 0.4), (0.45, 0.45)]),
)
def test_quotas_without_groups_are_within_one_row(counts, shares):
    validation, test = shares
    targets = np.repeat(np.arange(len(counts)), counts)
    splits = split({"all": distinct(targets)}, validation=validation, test=test)
    found = class_table(splits, range(len(counts))).T
    exact = np.outer(counts, [1 - validation - test, validation, test])
    assert (found >= 1).all()
    assert (found.sum(axis=1) == counts).all()
    # Less than a row off, save where rows were given so that no part lacks the class.
    room = np.where((exact >= 1).all(axis=1, keepdims=True), 1 - 1e-9, 2)
    assert (np.abs(found - exact) <= room).all()


def test_another_seed_gives_another_split():
    data = distinct(np.arange(100) % 2)
    assert split({"all": data}, seed=1).split_fingerprint != split({"all": data}).split_fingerprint
    assert split({"all": data}, seed=1).fingerprint == split({"all": data}).fingerprint


def test_groups_keep_class_proportions():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 300, 6000)
    leaning = rng.beta(0.5, 2, 300)  # groups differ much in their share of positives
    targets = (rng.random(6000) < leaning[groups]).astype(int)
    splits = split({"all": distinct(targets, groups=groups)})
    counts = class_table(splits, [0, 1])
    np.testing.assert_allclose(
        counts / counts.sum(axis=0), [[0.7] * 2, [0.15] * 2, [0.15] * 2], atol=0.01
    )
    assert "each group whole" in splits.how


@pytest.mark.parametrize("seed", range(5))
def test_large_groups_are_dealt_first(seed):
    groups = np.repeat(np.arange(10), [60, 10, 10, 10, 10] * 2)
    data = distinct(np.repeat(["a", "b"], 100), groups=groups)
    counts = class_table(split({"all": data}, validation=0.2, test=0.2, seed=seed), "ab")
    assert counts.tolist() == [[60, 60], [20, 20], [20, 20]]


def test_a_rare_class_inside_mixed_groups_is_shared_out():
    groups = np.arange(6000) // 20
    targets = np.zeros(6000, dtype=int)
    targets[:1200:20] = 1  # one row in each of 60 groups
    for seed in range(5):
        counts = class_table(split({"all": distinct(targets, groups=groups)}, seed=seed), [0, 1])
        assert np.abs(counts[:, 1] - [42, 9, 9]).max() <= 2
        assert np.abs(counts[:, 0] - [4158, 891, 891]).max() <= 30


@pytest.mark.parametrize("seed", range(5))
def test_a_class_of_few_uneven_units_reaches_every_part(seed):
    values = np.concatenate([np.repeat([1, 2, 3], [50, 50, 2]), np.arange(100, 300)])
    data = rows(values, np.repeat(["b", "a"], [102, 200]))
    assert sorted(class_table(split({"all": data}, seed=seed), "b").ravel()) == [2, 50, 50]


@pytest.mark.parametrize("seed", range(20))
def test_giving_one_class_a_row_takes_no_other_class_its_last(seed):
    values = np.concatenate([np.repeat([1, 2, 3, 4, 5], [9, 9, 3, 9, 9]), np.arange(100, 200)])
    # The middle unit is the smallest of both classes 1 and 2, which have two more units each.
    labels = [*[2] * 18, 2, 1, 1, *[1] * 18, *[0] * 100]
    counts = class_table(split({"all": rows(values, labels)}, seed=seed), [0, 1, 2])
    assert (counts > 0).all()


def test_groups_that_share_a_row_stay_together():
    groups = [0, 0, 1, 1, 2, 2, *range(10, 40)]
    values = [7, 8, 8, 9, 9, 10, *range(100, 130)]  # groups 0, 1 and 2 are linked through 8 and 9
    for seed in range(10):
        splits = split({"all": rows(values, np.arange(36) % 2, groups=groups)}, seed=seed)
        holding = [part for part, e in opened(splits).items() if {0, 1, 2} & set(e.groups)]
        assert len(holding) == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([4, 20, 1000]), st.sampled_from([15, 10_000]))
def test_time_runs_from_train_to_test(seed, num_times, num_values):
    rng = np.random.default_rng(seed)
    moments = np.concatenate([np.arange(4), rng.integers(0, num_times, 196)])
    times = pd.Timestamp("2020-01-01") + pd.to_timedelta(moments, unit="D")
    data = rows(rng.integers(0, num_values, 200), rng.integers(0, 2, 200), times=times.to_numpy())
    try:
        splits = split({"all": data})
    except InputError as error:
        assert "cut by time" in str(error) or "no rows are left" in str(error)
        return
    parts = opened(splits)
    assert parts["train"].times.max() < parts["validation"].times.min()
    assert parts["validation"].times.max() < parts["test"].times.min()
    contents = [set(part.inputs["a"]) for part in parts.values()]
    assert not contents[0] & contents[1] and not contents[1] & contents[2]
    left_out = 200 - sum(map(len, parts.values()))
    assert (f"{left_out:,} later rows left out" in splits.how) == (left_out > 0)


def test_time_shares_are_met_where_times_are_fine():
    splits = split({"all": distinct(np.arange(200) % 2, times=np.arange(200)[::-1].copy())})
    assert [len(part) for part in opened(splits).values()] == [140, 30, 30]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (np.arange(40) // 20, "2 distinct times for 3 parts"),
        (np.array([None, *range(39)], dtype=object), "1 rows have no time .first at row 0."),
        (
            np.array(["a", *range(39)], dtype=object),
            "times of types int, str cannot be put in order",
        ),
    ],
)
def test_times_that_cannot_order_rows_are_refused(times, message):
    with pytest.raises(InputError, match=message):
        split({"all": distinct(np.arange(40) % 2, times=times)})


def test_a_class_that_appears_too_late_is_refused():
    targets = np.array([0, 1] * 15 + [2] * 10)
    with pytest.raises(
        InputError, match=r"class 2 \(10 rows\) has none in train when .* cut by time"
    ):
        split({"all": distinct(targets, times=np.arange(40))})


def test_a_users_parts_are_kept_and_only_the_missing_are_carved():
    train, test = distinct(np.arange(100) % 2), rows(np.arange(500, 530), np.arange(30) % 2)
    splits = split({"train": train, "test": test}, validation=0.2)
    assert splits.user_made == ("test",)
    assert splits.test._release().inputs is test.inputs
    assert (len(splits.train), len(splits.validation)) == (80, 20)
    assert "the user's own test" in splits.how and "validation (20%)" in splits.how

    splits = split({"train": train, "validation": test}, test=0.2)
    assert splits.user_made == ("validation",)
    assert splits.validation.inputs is test.inputs and splits.validation.part == "validation"
    assert (len(splits.train), len(splits.test)) == (80, 20)

    three = {
        "train": train,
        "validation": test,
        "test": rows(np.arange(900, 910), np.arange(10) % 2),
    }
    splits = split(three)
    assert splits.user_made == PARTS and splits.train.inputs is train.inputs
    assert splits.train.part == "train" and isinstance(splits.test, Sealed)
    assert splits.fingerprint == fingerprint(three)

    splits = split({"train": train})
    assert splits.user_made == () and len(splits.train) == 70


def test_no_test_is_none_and_not_an_empty_one():
    splits = split({"all": distinct(np.arange(100) % 2)}, test=0)
    assert splits.test is None and "no test split" in splits.how
    assert set(splits.digests) == {"train", "validation"}


def test_absent_classes_are_told():
    train = distinct(["a", "b", "c"] * 20)
    validation = rows([500, 501], ["a", "b"])
    splits = split({"train": train, "validation": validation})
    assert splits.absent == {"validation": ("'c'",), "test": ()}


def test_texts_and_images_are_split_too():
    texts = np.array([f"text {i % 60}" for i in range(120)], dtype=object)
    splits = split({"all": Examples("text", texts, np.arange(120) % 2)})
    assert not set(splits.train.inputs) & set(splits.validation.inputs)
    stack = np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8)
    splits = split({"all": Examples("image", Images.from_array(stack), np.arange(40) % 2)})
    assert [len(part) for part in opened(splits).values()] == [28, 6, 6]


GOOD = np.arange(40) % 2


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        ({}, {}, "parts .none."),
        ({"test": distinct(GOOD)}, {}, "parts 'test'"),
        ({"all": distinct(GOOD[:0])}, {}, "'all' has no rows"),
        ({"train": distinct(GOOD), "test": distinct(GOOD[:0])}, {}, "'test' has no rows"),
        ({"all": distinct(GOOD * 0)}, {}, "one class only, 0"),
        ({"all": distinct(GOOD)}, {"validation": 0}, "validation=0 is not a share"),
        ({"all": distinct(GOOD)}, {"test": 1.0}, "test=1.0 is not a share"),
        ({"all": distinct(GOOD)}, {"test": -0.1}, "test=-0.1 is not a share"),
        ({"all": distinct(GOOD)}, {"validation": float("nan")}, "validation=nan"),
        ({"all": distinct(GOOD)}, {"validation": 0.5, "test": 0.5}, "leave no rows to train on"),
        ({"all": Examples("text", np.array(["a", "b"], dtype=object))}, {}, "no targets"),
        ({"all": distinct(np.array([0, 1, None] * 10, dtype=object))}, {}, "10 rows have no label"),
        ({"all": distinct(GOOD, groups=[None, *range(39)])}, {}, "1 rows have no group"),
        (
            {"train": distinct(GOOD), "test": rows([90, 91, 92], [0, 2, 2])},
            {},
            r"test has classes that train lacks: 2 \(2 rows\)",
        ),
        (
            {"train": distinct(GOOD), "validation": rows([90, 91], ["x", 0])},
            {},
            r"validation has classes that train lacks: 'x' \(1 rows\)",
        ),
        (
            {"train": distinct(GOOD * 0), "test": rows([90, 91], [0, 1])},
            {},
            "train has one class only|test has classes",
        ),
    ],
)
def test_what_cannot_be_split_is_refused_by_name(parts, options, message):
    with pytest.raises(InputError, match=message):
        split(parts, **options)


def test_a_hundred_thousand_rows_take_little_time():
    rng = np.random.default_rng(0)
    n = 100_000
    data = distinct(rng.integers(0, 10, n), groups=rng.integers(0, 50_000, n))
    start = time.process_time()
    split({"all": data})
    assert time.process_time() - start < 2
