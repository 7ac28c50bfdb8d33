"""The subsets that papers report on, from data of every kind, and what cannot be cut."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import Subset, TensorDataset

from mlexpert.data import long_tail
from mlexpert.errors import InputError

LABELS = np.tile(np.arange(4), 50)  # 50 rows of each of 4 classes
EXP = [50, 23, 10, 5]  # 50 * 10 ** (-k / 3), rounded down


def counts(labels: Any) -> list[int]:
    return np.bincount(np.asarray(labels)).tolist()


def test_cifar_10_at_100_is_the_published_subset(real_data: Path) -> None:
    """Cao et al. 2019 and all who took up their split: 12,406 images."""
    labels = pd.read_parquet(real_data / "cifar10_train.parquet", columns=["label"])
    cut = long_tail(labels, imbalance=100)
    assert counts(cut["label"]) == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert len(cut) == 12_406
    assert len(long_tail(labels, imbalance=10)) == 20_431
    step = long_tail(labels, imbalance=100, profile="step")
    assert counts(step["label"]) == [5000] * 5 + [50] * 5


def test_a_hundred_classes_are_cut_as_published() -> None:
    y = np.repeat(np.arange(100), 500)
    assert [len(long_tail((y, y), imbalance=r)[1]) for r in (10, 50, 100)] == [
        19_573,
        12_608,
        10_847,
    ]


def forms() -> dict[str, tuple[Any, Any]]:
    """Data of each kind with rows 0..199 as input, and how to read (rows, labels) off them."""
    rows = np.arange(200)
    frame = pd.DataFrame({"x": rows, "label": LABELS}, index=rows + 7)
    columns = lambda ds: (np.asarray(ds["x"]), np.asarray(ds["label"]))  # noqa: E731
    pair = lambda ds: (np.asarray(ds[0]), np.asarray(ds[1]))  # noqa: E731
    items = lambda ds: (np.array([int(x) for x, _ in ds]), np.array([int(y) for _, y in ds]))  # noqa: E731
    tensors = TensorDataset(torch.tensor(rows)[:, None], torch.tensor(LABELS))
    return {
        "frame": (frame, columns),
        "dataset": (datasets.Dataset.from_pandas(frame), columns),
        "arrays": ((rows, LABELS), pair),
        "tensors": ((torch.tensor(rows), torch.tensor(LABELS)), pair),
        "lists": ((rows.tolist(), LABELS.tolist()), pair),
        "frame and series": ((frame[["x"]], frame["label"]), lambda ds: (ds[0]["x"], ds[1])),
        "torch": (tensors, items),
    }


@pytest.mark.parametrize("form", list(forms()))
def test_every_kind_of_data_is_cut_alike_and_stays_of_its_kind(form: str) -> None:
    ds, read = forms()[form]
    cut = long_tail(ds, imbalance=10)
    rows, labels = (np.asarray(column) for column in read(cut))
    assert isinstance(cut, Subset if form == "torch" else type(ds))
    assert counts(labels) == EXP
    np.testing.assert_array_equal(labels, LABELS[rows])  # inputs and labels stay together
    assert (np.diff(rows) > 0).all()
    expected, _ = (
        np.asarray(column) for column in read_frame(long_tail(forms()["frame"][0], imbalance=10))
    )
    np.testing.assert_array_equal(rows, expected)


def read_frame(frame: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    return frame["x"], frame["label"]


def test_the_seed_chooses_the_rows_and_nothing_else() -> None:
    x = np.arange(200)
    one, again, other = (long_tail((x, LABELS), imbalance=10, seed=s)[0] for s in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert len(other) == len(one) and set(other) != set(one)


def test_only_the_train_split_is_cut() -> None:
    rows = datasets.Dataset.from_dict({"x": list(range(200)), "label": LABELS.tolist()})
    splits = datasets.DatasetDict(train=rows, test=rows)
    cut = long_tail(splits, imbalance=10)
    assert isinstance(cut, datasets.DatasetDict)
    assert cut["train"].features == rows.features
    assert counts(cut["train"]["label"]) == EXP
    assert len(cut["test"]) == 200 == len(splits["train"])
    plain = long_tail({"Train": (LABELS, LABELS), "val": (LABELS, LABELS)}, imbalance=10)
    assert type(plain) is dict
    assert [len(plain[name][1]) for name in ("Train", "val")] == [sum(EXP), 200]


def test_classes_go_by_their_labels_and_the_head_by_what_all_have() -> None:
    y = np.array(["b"] * 30 + ["a"] * 20 + ["c"] * 40)
    _, kept = long_tail((np.arange(90), y), imbalance=4)
    assert pd.Series(kept).value_counts().to_dict() == {"a": 20, "b": 10, "c": 5}
    _, kept = long_tail((np.arange(90), y), imbalance=4, largest=16)
    assert pd.Series(kept).value_counts().to_dict() == {"a": 16, "b": 8, "c": 4}
    _, kept = long_tail((np.arange(90), y), imbalance=4, profile="step")
    assert pd.Series(kept).value_counts().to_dict() == {"a": 20, "b": 20, "c": 5}
    x, kept = long_tail((np.arange(200), LABELS), imbalance=1)
    assert len(x) == 200


@pytest.mark.parametrize(
    ("ds", "arguments", "message"),
    [
        ((LABELS, LABELS), {"imbalance": 0.5}, "imbalance=0.5; .* 1 or more"),
        ((LABELS, LABELS), {"imbalance": float("nan")}, "imbalance=nan"),
        ((LABELS, LABELS), {"imbalance": "100"}, "imbalance='100'"),
        ((LABELS, LABELS), {"profile": "steps"}, "Did you mean 'step'?"),
        ((LABELS, LABELS), {"imbalance": 51}, "class 3 has 50 rows, and would keep 0"),
        ((LABELS, LABELS), {"largest": 60}, "class 0 has 50 rows, and would keep 60"),
        ((LABELS, LABELS), {"largest": 0}, "largest=0"),
        ((LABELS, LABELS), {"seed": -1}, "seed=-1"),
        ((LABELS[1:], LABELS), {}, "X has 199 rows and y has 200"),
        ((LABELS, LABELS * 0), {}, "one class only"),
        ((LABELS, [[0, 1]] * 200), {}, "sets of labels"),
        ((LABELS, np.where(LABELS > 0, 1.0, np.nan)), {}, "lacks a label in 50 of 200"),
        (pd.DataFrame({"x": LABELS, "z": LABELS}), {}, "name it with target="),
        (pd.DataFrame({"label": LABELS}), {"target": "lable"}, "Did you mean 'label'?"),
        ({"test": (LABELS, LABELS)}, {}, "no train split to be cut; splits: 'test'"),
        ("rows.parquet", {}, "load the data first"),
        (Path("rows.parquet"), {}, "load the data first"),
    ],
)
def test_what_cannot_be_cut_is_refused(ds: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        long_tail(ds, **arguments)


def test_the_name_is_there_without_anything_slow() -> None:
    code = (
        "import sys, mlexpert.data; assert 'long_tail' in dir(mlexpert.data); "
        "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    import mlexpert.data.long_tailed

    assert mlexpert.data.long_tail is mlexpert.data.long_tailed.long_tail
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        mlexpert.data.nonsense  # noqa: B018
