"""Rows held out for validation, also of classes that are too rare to be divided."""

from __future__ import annotations

import numpy as np
import pytest

from mlexpert.data.hold_out import hold_out


def _held(contents, classes, share=0.25, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return hold_out(np.asarray(contents), np.asarray(classes), share, rng)


def test_is_stratified():
    classes = np.repeat([0, 1], [80, 20])
    held = _held(np.arange(100), classes)
    assert np.bincount(classes[held]).tolist() == [20, 5]


@pytest.mark.parametrize("seed", range(20))
def test_no_content_on_both_sides_and_every_class_in_train(seed):
    rng = np.random.default_rng(seed)
    contents, classes = rng.integers(0, 12, 40), rng.integers(0, 5, 40)
    held = _held(contents, classes, seed=seed)
    assert not set(contents[held]) & set(contents[~held])
    assert set(classes[~held]) == set(classes)


def test_a_class_of_one_distinct_row_is_trained_on():
    classes = [0] * 10 + [1] * 10 + [2, 2]
    contents = [*range(20), 20, 20]
    held = _held(contents, classes)
    assert held[:10].any() and held[10:20].any() and not held[20:].any()


def test_equals_of_a_rare_row_stay_with_it():
    contents = [0, 0, 1, 2, 3, 4]
    assert not any(_held(contents, [0, 1, 1, 1, 1, 1], seed=seed)[:2].any() for seed in range(10))


@pytest.mark.parametrize(
    ("contents", "classes"),
    [([0, 0, 1, 1], [0, 0, 1, 1]), ([0, 1, 2, 3], [0, 0, 1, 1]), ([0, 1], [0, 1])],
)
def test_holds_none_out_where_too_little_would_be_left(contents, classes):
    assert not _held(contents, classes).any()
