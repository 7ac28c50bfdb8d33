"""Rows as a weighted multiset, against brute force."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mlexpert.data import multiset
from mlexpert.data.multiset import canonical


def _rows(seed: int, rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """A few distinct digests and targets, so that many rows are equal."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 3, (rows, 2)).astype(np.uint64), rng.integers(0, 2, rows)


def _counted(digests, targets, weights) -> Counter:
    counted: Counter = Counter()
    for digest, target, weight in zip(digests.tolist(), targets.tolist(), weights, strict=True):
        counted[(*digest, target)] += weight
    return +counted


@pytest.mark.parametrize("seed", range(5))
def test_whole_weights_are_repetitions(seed):
    digests, targets = _rows(seed)
    weights = np.random.default_rng(seed).integers(0, 4, len(targets)).astype(float)
    order, left = canonical(digests, targets, weights)
    assert left is None
    assert _counted(digests[order], targets[order], np.ones(len(order))) == _counted(
        digests, targets, weights
    )
    written_out = np.repeat(np.arange(len(targets)), weights.astype(int))
    again, left = canonical(digests[written_out], targets[written_out], None)
    assert left is None
    assert (digests[written_out][again] == digests[order]).all()
    assert (targets[written_out][again] == targets[order]).all()


@pytest.mark.parametrize("seed", range(5))
def test_other_weights_add_up_whatever_the_order(seed):
    digests, targets = _rows(seed)
    rng = np.random.default_rng(seed)
    weights = rng.choice([0.0, 0.1, 0.7, 1e6 / 3], len(targets))
    order, sums = canonical(digests, targets, weights)
    found = _counted(digests[order], targets[order], sums)
    wanted = _counted(digests, targets, weights)
    assert len(order) == len(found) == len(wanted)
    assert all(found[key] == pytest.approx(wanted[key]) for key in wanted)
    shuffled = rng.permutation(len(targets))
    again, same = canonical(digests[shuffled], targets[shuffled], weights[shuffled])
    assert (digests[shuffled][again] == digests[order]).all()
    assert (same == sums).all()  # to the last bit


def test_values_of_targets_are_told_apart():
    digests = np.zeros((3, 2), dtype=np.uint64)
    order, _ = canonical(digests, np.array([0.2, 0.1, 0.2]), None)
    assert order.tolist() == [1, 0, 0]


def test_repeats_no_more_than_memory_holds(monkeypatch):
    monkeypatch.setattr(multiset, "MOST_REPEATED", 5)
    digests, targets = np.array([[1, 0], [0, 0]], dtype=np.uint64), np.array([0, 1])
    assert canonical(digests, targets, np.array([2.0, 3.0]))[0].tolist() == [1, 1, 1, 0, 0]
    order, weights = canonical(digests, targets, np.array([2.0, 4.0]))
    assert order.tolist() == [1, 0] and weights.tolist() == [4.0, 2.0]
    assert canonical(digests, targets, np.array([4.0, 4.0]))[1] is None  # all alike
