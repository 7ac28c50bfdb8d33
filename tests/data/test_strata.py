"""Divisions of rows with several labels, and of rows with numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from mlexpert.data.examples import Examples
from mlexpert.data.fingerprint import fingerprint
from mlexpert.data.splits import Splits, split
from mlexpert.data.strata import quantile_bins
from mlexpert.errors import InputError


def rows(targets, objective, values=None, **roles) -> Examples:
    frame = pd.DataFrame({"a": np.arange(len(targets)) if values is None else values})
    return Examples("tabular", frame, targets, objective=objective, **roles)


def sets(matrix: np.ndarray) -> np.ndarray:
    out = np.empty(len(matrix), dtype=object)
    out[:] = [tuple(np.flatnonzero(row).tolist()) for row in matrix]
    return out


def opened(splits: Splits) -> dict[str, Examples]:
    parts = {"train": splits.train, "validation": splits.validation}
    return parts if splits.test is None else {**parts, "test": splits.test._release()}


def counts(examples: Examples, num_labels: int) -> np.ndarray:
    flat = [label for labels in examples.targets for label in labels]
    return np.bincount(np.asarray(flat, dtype=int), minlength=num_labels)


def test_labels_have_nearly_their_share_in_every_part():
    rng = np.random.default_rng(0)
    rates = np.array([0.5, 0.3, 0.1, 0.05, 0.01, 0.003])
    matrix = rng.random((4_000, 6)) < rates
    splits = split({"all": rows(sets(matrix), "multilabel")})
    table = np.stack([counts(part, 6) for part in opened(splits).values()])
    assert (table.sum(axis=0) == matrix.sum(axis=0)).all()
    expected = np.outer([0.7, 0.15, 0.15], matrix.sum(axis=0))
    # Each within a binomial draw's deviation, and the rarest, by which rows are dealt, closer.
    assert (np.abs(table - expected) <= 2 * np.sqrt(expected) + 1).all()
    assert (np.abs(table - expected)[:, -2:] <= 1).all()
    assert "stratified by the rarest label of a row" in splits.how
    assert splits.absent == {"validation": (), "test": ()}


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_every_label_stays_in_train(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    n, num_labels = data.draw(st.integers(20, 120)), data.draw(st.integers(1, 25))
    matrix = rng.random((n, num_labels)) < data.draw(st.sampled_from([0.02, 0.1, 0.4]))
    values = rng.integers(0, data.draw(st.sampled_from([20, 10_000])), n)
    groups = rng.integers(0, 15, n) if data.draw(st.booleans()) else None
    examples = rows(sets(matrix), "multilabel", values, groups=groups)
    try:
        splits = split({"all": examples}, seed=data.draw(st.integers(0, 3)))
    except InputError as error:
        assert "too few" in str(error) or "no rows are left" in str(error)
        return
    parts = opened(splits)
    assert sum(map(len, parts.values())) == n
    assert ((counts(parts["train"], num_labels) > 0) == matrix.any(axis=0)).all()
    for part, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not set(parts[part].inputs["a"]) & set(parts[other].inputs["a"])
        if groups is not None:
            assert not set(parts[part].groups) & set(parts[other].groups)
    for part, lacking in splits.absent.items():
        here = counts(parts[part], num_labels) > 0
        assert {int(label) for label in lacking} == set(np.flatnonzero(matrix.any(axis=0) & ~here))


def test_a_label_of_one_row_is_trained_on():
    matrix = np.zeros((60, 3), dtype=bool)
    matrix[:, 0] = np.arange(60) % 2
    matrix[17, 1] = matrix[40, 2] = matrix[41, 2] = True
    for seed in range(8):
        splits = split({"all": rows(sets(matrix), "multilabel")}, seed=seed)
        assert counts(splits.train, 3)[1] == 1
        assert counts(splits.train, 3)[2] >= 1
        assert "1" in splits.absent["test"]


def test_labels_that_train_lacks_are_named():
    matrix = np.eye(3, dtype=bool)[np.arange(30) % 2]
    other = rows(sets(np.eye(3, dtype=bool)[[2, 2, 0]]), "multilabel", [90, 91, 92])
    with pytest.raises(InputError, match=r"test has labels that train lacks: 2 \(2 rows\)"):
        split({"train": rows(sets(matrix), "multilabel"), "test": other})
    times = np.arange(30)
    late = np.zeros((30, 2), dtype=bool)
    late[:, 0], late[-3:, 1] = times % 2, True
    with pytest.raises(InputError, match=r"test has labels that train lacks: 1 \(3 rows\)"):
        split({"all": rows(sets(late), "multilabel", times=times)})


# --- numbers


def test_numbers_are_alike_in_every_part():
    values = np.random.default_rng(0).lognormal(0, 2, 2_000)
    splits = split({"all": rows(values, "regression")}, seed=1)
    parts = opened(splits)
    assert [len(part) for part in parts.values()] == [1_400, 300, 300]
    for part in parts.values():
        assert ks_2samp(part.targets, values).statistic < 0.03  # a random draw: 0.04 in the mean
    assert "stratified by quantiles of the target" in splits.how
    assert splits.absent == {}
    assert splits.fingerprint == fingerprint({"all": rows(values, "regression")})


def test_few_or_tied_numbers_are_divided_too():
    values = np.arange(7.0)
    parts = opened(split({"all": rows(values, "regression")}))
    assert sorted(np.concatenate([part.targets for part in parts.values()])) == values.tolist()
    assert all(len(part) for part in parts.values())
    tied = np.where(np.arange(100) % 10, 0.0, 5.0)
    table = [
        (part.targets == 5).sum()
        for part in opened(split({"all": rows(tied, "regression")})).values()
    ]
    assert sum(table) == 10 and min(table) >= 1
    with pytest.raises(InputError, match="the data has 2 rows in 2 distinct rows: too few"):
        split({"all": rows(values[:2], "regression")})


def test_groups_of_numbers_stay_whole():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 60, 900)
    parts = opened(split({"all": rows(rng.normal(size=900) + groups, "regression", groups=groups)}))
    held = [set(part.groups) for part in parts.values()]
    assert not held[0] & held[1] and not held[0] & held[2] and not held[1] & held[2]
    np.testing.assert_allclose(
        [len(part) / 900 for part in parts.values()], [0.7, 0.15, 0.15], atol=0.03
    )


@pytest.mark.parametrize("num_bins", [1, 3, 10])
def test_bins_are_those_of_pandas(num_bins):
    values = np.random.default_rng(0).normal(size=500)
    expected = pd.qcut(values, num_bins, labels=False)
    assert (quantile_bins(values, num_bins) == expected).mean() > 0.97  # edges fall otherwise
    counts = np.bincount(quantile_bins(values, num_bins))
    assert counts.max() - counts.min() <= 1


# --- weights


def test_rows_of_weight_zero_are_left_out_of_train_only():
    weights = (np.arange(200) % 4 > 0) * 2.0
    plain = rows(np.arange(200) % 2, "classification")
    weighted = rows(np.arange(200) % 2, "classification", weights=weights)
    before, after = split({"all": plain}), split({"all": weighted})
    assert after.split_fingerprint == before.split_fingerprint
    assert after.fingerprint == before.fingerprint
    assert after.validation.inputs.equals(before.validation.inputs)
    kept = before.train.inputs[weights[before.train.inputs.index] > 0]
    assert after.train.inputs.equals(kept)
    assert (after.train.weights == 2).all()
    assert len(after.digests["train"]) == len(after.train)
    dropped = len(before.train) - len(after.train)
    assert after.how.endswith(f"; {dropped} rows of weight 0 left out of train")
    assert (after.validation.weights == weights[after.validation.inputs.index]).all()


def test_a_class_or_a_part_without_weight_is_refused():
    labels = np.arange(60) % 2
    three = np.arange(60) % 3
    nothing = rows(three, "classification", weights=(three < 2) * 1.0)
    with pytest.raises(InputError, match=r"validation has classes that train lacks: 2"):
        split({"all": nothing})
    times = np.arange(60)
    late = rows(labels, "classification", weights=(times < 42) * 1.0, times=times)
    with pytest.raises(InputError, match="every row of validation has the weight 0"):
        split({"all": late})
