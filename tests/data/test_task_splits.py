"""Splits, folds, audit and schema of a stream: every task in every part, and nothing leaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlexpert.data import permuted, rotated, stream
from mlexpert.data.examples import Examples
from mlexpert.data.folds import fold_splits
from mlexpert.data.intake import read
from mlexpert.data.leakage import audit
from mlexpert.data.ledger import Ledger
from mlexpert.data.schema import Categorical, Numeric, describe
from mlexpert.data.seal import open_sealed
from mlexpert.data.splits import split
from mlexpert.data.tasks.first_task import describe_first_task
from mlexpert.data.tasks.transformed import Permutation
from mlexpert.errors import InputError
from mlexpert.preparation import heed

RNG = np.random.default_rng(0)
N = 240
LABELS = np.arange(N) % 6


def frame(labels: Any = LABELS, seed: int = 0, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {"x": np.random.default_rng(seed).normal(size=len(labels)), **columns, "label": labels}
    )


def images(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, 6, 5), dtype=np.uint8)


def task_of(rows: Examples) -> np.ndarray:
    assert rows.targets is not None
    return rows.targets // 2


def test_whatever_divides_rows_carries_their_tasks(tmp_path) -> None:
    weights = np.where(np.arange(N) % 10 == 0, 0.0, 1.0)
    ds = frame(who=np.arange(N) // 2 * 6 + LABELS // 2)
    for roles in ({}, {"sample_weight": weights}, {"group": "who"}):
        splits = split(read(stream(ds, num_tasks=3), **roles))
        assert splits.test is not None
        ledger = Ledger(splits.fingerprint, tmp_path)
        sealed = open_sealed(splits.test, ledger, reason="a test", run="none")
        for rows in (splits.train, splits.validation, sealed):
            np.testing.assert_array_equal(rows.tasks, task_of(rows))
            assert (np.diff(rows.tasks) >= 0).all()
    for fold in fold_splits(
        read(stream(ds, num_tasks=3)), folds=3, validation=0.2, test=0.2, seed=0
    ):
        for rows in (fold.splits.train, fold.splits.validation):
            np.testing.assert_array_equal(rows.tasks, task_of(rows))


def test_parts_are_stratified_by_class_and_task() -> None:
    """A task of a tenth of the rows has its share of each class in each part."""
    site = np.where(np.arange(N) < 24, "small", "large")
    splits = split(
        read(stream(frame(site=site), scenario="domain", by="site")), validation=0.25, test=0.25
    )
    for rows, expected in ((splits.train, 2), (splits.validation, 1)):
        small = rows.targets[rows.tasks == 1]
        assert np.bincount(small).tolist() == [expected] * 6


def test_a_class_that_is_rare_in_a_task_is_dealt_with_its_others() -> None:
    labels = np.r_[np.arange(60) % 2, [0] * 30, 1]  # the second task has one row of class 1
    site = np.r_[["a"] * 60, ["b"] * 31]
    splits = split(read(stream(frame(labels, site=site), scenario="domain", by="site")))
    counted = sum(len(rows) for rows in (splits.train, splits.validation))
    assert splits.test is not None and counted + len(splits.test) == 91
    for rows in (splits.train, splits.validation):
        assert sorted(set(rows.tasks)) == [0, 1]


def test_a_part_without_rows_of_a_task_is_refused() -> None:
    labels = np.r_[np.arange(60) % 2, [0, 1]]
    site = np.r_[["a"] * 60, ["b"] * 2]
    made = read(stream(frame(labels, site=site), scenario="domain", by="site"))
    with pytest.raises(InputError, match="every task needs rows in every split"):
        split(made)
    # In the order of time, the last rows are all that is left to validate on.
    ds = frame(LABELS % 2, site=LABELS // 2, when=np.arange(N) + 1e3 * LABELS)
    by_time = read(stream(ds, scenario="domain", by="site"), time="when")
    with pytest.raises(InputError, match="has no row of task"):
        split(by_time)


def leaks(parts: dict[str, Examples]) -> dict[str, int]:
    findings = audit(split(parts))
    errors = [one for one in findings if one.severity == "error"]
    if errors:
        with pytest.raises(InputError, match="leakage"):
            heed(findings, "refuse")
    return {one.check: one.count for one in errors}


def test_a_row_of_one_task_that_another_is_tested_on_is_refused() -> None:
    train, validation, test = (frame(seed=seed) for seed in range(3))
    first, last = np.flatnonzero(LABELS == 0)[:2], np.flatnonzero(LABELS == 5)[:2]
    clean = {"train": train, "validation": validation, "test": test}
    assert leaks(read(stream(clean, num_tasks=3))) == {}
    test.loc[last, "x"] = train.loc[first, "x"].to_numpy()  # of task 0, tested on in task 2
    validation.loc[first, "x"] = train.loc[last, "x"].to_numpy()
    found = leaks(read(stream(clean, num_tasks=3)))
    assert found == {"duplicates: train and validation": 2, "duplicates: train and test": 2}


def test_copies_of_an_image_are_found_in_a_task_and_across_tasks() -> None:
    labels = np.arange(60) % 2
    own = {
        "train": (images(60, 0), labels),
        "validation": (images(60, 1), labels),
        "test": (images(60, 2), labels),
    }
    assert leaks(read(permuted(own, num_tasks=3))) == {}
    own["test"][0][7] = own["train"][0][3]
    for made in (permuted(own, num_tasks=3), rotated(own, num_tasks=3)):
        assert leaks(read(made)) == {"duplicates: train and test": 3}
    # An image that the user permuted, and that task 1 shows a row of train as.
    shown = Permutation(0)(own["train"][0][..., None], 1)[..., 0]
    own["test"][0][7] = images(1, 3)[0]
    own["validation"][0][2] = shown[9]
    assert leaks(read(permuted(own, num_tasks=3))) == {"duplicates: train and validation": 1}
    # And in a list, where a later data set tests on what the first one trains on.
    first = {part: (images(60, 4 + k), labels) for k, part in enumerate(own)}
    later = {part: (images(60, 7 + k), labels) for k, part in enumerate(own)}
    later["test"] = first["train"]
    found = leaks(read(stream([first, later], scenario="domain")))
    assert found == {"duplicates: train and test": 60}


def test_inputs_are_measured_on_the_first_task_alone_and_classes_on_all() -> None:
    later = LABELS > 1
    ds = frame(city=np.where(later, "Rome", "Oslo"))
    ds["x"] += np.where(later, 100.0, 0.0)
    train = split(read(stream(ds, num_tasks=3))).train
    schema, whole = describe_first_task(train), describe(train)
    first = describe(train.select(np.flatnonzero(train.tasks == 0)))
    assert schema.columns == first.columns != whole.columns
    x, city = schema.columns
    assert isinstance(x, Numeric) and abs(x.mean) < 1
    assert isinstance(city, Categorical) and city.categories == ("Oslo",)
    assert (schema.classes, schema.class_counts) == (whole.classes, whole.class_counts)
    assert schema.num_rows == len(train) == schema.num_examples
    alone = split(read(stream(ds, num_tasks=6))).train  # one class in the first task
    assert describe_first_task(alone).classes == tuple(range(6))


def test_images_and_texts_are_measured_on_the_first_task_alone() -> None:
    labels = np.arange(60) // 15
    stack = np.where(labels[:, None, None] < 2, 51, 255) * np.ones((60, 6, 5))
    stack[:, 0, 0] = np.arange(60)
    train = split(read(stream((stack.astype(np.uint8), labels), num_tasks=2))).train
    image = describe_first_task(train).image
    assert image is not None and image.mean[0] == pytest.approx(0.2, abs=0.01)
    texts = [f"{'alpha' if label < 2 else 'omega'} {i}" for i, label in enumerate(labels)]
    train = split(read(stream((texts, labels), num_tasks=2))).train
    text = describe_first_task(train).text
    assert text is not None and "alpha" in text.tokenizer and "omega" not in text.tokenizer


def test_rows_of_no_stream_have_no_first_task() -> None:
    with pytest.raises(InputError, match="of no stream"):
        describe_first_task(split(read(frame())).train)
