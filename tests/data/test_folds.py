"""Folds: the test of a plain split, and every other row validated on once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold

from mlexpert.data.examples import Examples
from mlexpert.data.folds import fold_splits
from mlexpert.data.splits import split
from mlexpert.errors import InputError

SHARES = {"validation": 0.15, "test": 0.2, "seed": 3}


def rows(targets, values=None, **roles) -> Examples:
    frame = pd.DataFrame({"a": np.arange(len(targets)) if values is None else values})
    return Examples("tabular", frame, np.asarray(targets), **roles)


def drawn(n: int = 300, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(["a", "b", "c"], n, p=[0.7, 0.2, 0.1])


@pytest.mark.parametrize("folds", [2, 5])
def test_every_row_that_is_not_test_is_validated_on_once(folds):
    examples = rows(drawn())
    plain = split({"all": examples}, **SHARES)
    made = fold_splits({"all": examples}, folds=folds, **SHARES)
    assert len(made) == folds
    rest = np.sort(np.concatenate([plain.train.inputs.index, plain.validation.inputs.index]))
    rows_of = np.concatenate([fold.validation_rows for fold in made])
    assert sorted(rows_of) == list(range(len(rest)))
    for fold in made:
        splits = fold.splits
        assert splits.fingerprint == plain.fingerprint
        assert splits.test is made[0].splits.test
        assert splits.test._release().inputs.equals(plain.test._release().inputs)
        here = splits.validation.inputs.index
        assert (here == rest[fold.validation_rows]).all()
        assert (splits.train.inputs.index == np.setdiff1d(rest, here)).all()
        assert splits.train.part == "train" and splits.validation.part == "validation"
        assert len(splits.digests["train"]) == len(splits.train)
    assert len({fold.splits.split_fingerprint for fold in made}) == folds
    assert "fold 1 of" in made[0].splits.how and "20%" in made[0].splits.how
    # In proportion, as sklearn's folds are.
    peer = StratifiedKFold(folds).split(rest, examples.targets[rest])
    most = max(np.ptp(table(examples.targets[rest], [held for _, held in peer]), axis=0))
    ours = table(examples.targets[rest], [fold.validation_rows for fold in made])
    assert np.ptp(ours, axis=0).max() <= max(most, 1)


def table(targets, folds) -> np.ndarray:
    return np.array([[(targets[rows] == k).sum() for k in "abc"] for rows in folds])


def test_groups_and_duplicates_stay_whole():
    rng = np.random.default_rng(1)
    groups, repeated = rng.integers(0, 70, 400), rng.integers(0, 300, 400)
    for values, roles in ((None, {"groups": groups}), (repeated, {})):
        made = fold_splits({"all": rows(drawn(400), values, **roles)}, folds=4, **SHARES)
        for fold in made:
            train, held = fold.splits.train, fold.splits.validation
            assert not set(train.inputs["a"]) & set(held.inputs["a"])
            if roles:
                assert not set(train.groups) & set(held.groups)


def test_a_users_test_is_kept():
    test = rows(drawn(30), np.arange(900, 930))
    parts = {"train": rows(drawn()), "test": test}
    made = fold_splits(parts, folds=3, **SHARES)
    assert all(abs(len(fold.splits.validation) - 100) <= 1 for fold in made)
    assert all(fold.splits.test._release().inputs is test.inputs for fold in made)
    assert made[0].splits.user_made == ("test",)
    assert (
        fold_splits({"train": rows(drawn())}, folds=2, **{**SHARES, "test": 0})[0].splits.test
        is None
    )


def test_numbers_and_sets_of_labels_have_folds_too():
    rng = np.random.default_rng(0)
    numbers = rows(rng.normal(size=200), objective="regression")
    means = [
        fold.splits.validation.targets.mean()
        for fold in fold_splits({"all": numbers}, folds=4, **SHARES)
    ]
    assert np.std(means) < 0.05  # 0.16 for random folds
    sets = np.empty(200, dtype=object)
    sets[:] = [tuple(np.flatnonzero(row).tolist()) for row in rng.random((200, 8)) < 0.05]
    made = fold_splits({"all": rows(sets, objective="multilabel")}, folds=4, **SHARES)
    known = [{label for labels in fold.splits.train.targets for label in labels} for fold in made]
    assert all(one == known[0] for one in known)


def test_rows_of_weight_zero_are_validated_on_and_not_trained_on():
    weights = (np.arange(300) % 3 > 0) * 1.0
    made = fold_splits({"all": rows(drawn(), weights=weights)}, folds=3, **SHARES)
    pooled = [len(fold.splits.validation) for fold in made]
    assert sum(pooled) + len(made[0].splits.test) == 300
    assert all((fold.splits.validation.weights == 0).any() for fold in made)
    assert all((fold.splits.train.weights > 0).all() for fold in made)


LONE = np.empty(60, dtype=object)
LONE[:] = [("x",) if i % 2 else () for i in range(60)]
LONE[7] = ("x", "rare")


@pytest.mark.parametrize(
    ("parts", "folds", "message"),
    [
        ({"all": rows(drawn())}, 1, "folds=1; it takes a whole number from 2"),
        ({"all": rows(drawn())}, True, "folds=True"),
        ({"all": rows(drawn())}, 2.0, "folds=2.0"),
        (
            {"all": rows(["a"] * 50 + ["b"] * 6)},
            7,
            r"class 'b' has [45] rows in [45] distinct rows: too few for fold 1, .* and fold 7",
        ),
        (
            {"all": rows(["a", "b"] * 40, groups=np.arange(80) // 8)},
            9,
            "class 'a' has .* groups .*: too few for fold 1",
        ),
        (
            {"train": rows(drawn()), "validation": rows(drawn(9), range(900, 909))},
            2,
            "brings a validation split",
        ),
        ({"all": rows(drawn(), times=np.arange(300))}, 2, "which time= forbids"),
        (
            {"all": rows(LONE, objective="multilabel")},
            2,
            r"labels are in one fold only: 'rare' \(1 rows\)",
        ),
    ],
)
def test_what_cannot_be_dealt_is_refused_by_name(parts, folds, message):
    with pytest.raises(InputError, match=message):
        fold_splits(parts, folds=folds, **SHARES)
