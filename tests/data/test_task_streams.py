"""Streams of tasks: how data is divided, and what no stream can be made of."""

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
from torch.utils.data import TensorDataset

import mlexpert.data
from mlexpert.data import Stream, permuted, stream
from mlexpert.data.examples import Examples
from mlexpert.data.intake import read
from mlexpert.data.tasks.coverage import refuse_absent_tasks, task_classes_of
from mlexpert.errors import InputError

RNG = np.random.default_rng(0)
N = 60
LABELS = np.arange(N) % 6
X = RNG.normal(size=(N, 3))
STACK = RNG.integers(0, 256, (N, 5, 6), dtype=np.uint8)
NAMES = ["ant", "bee", "cat", "dog", "elk", "fox"]


def frame(labels: Any = LABELS, seed: int = 0, **columns: Any) -> pd.DataFrame:
    values = np.random.default_rng(seed).normal(size=(len(labels), 2))
    return pd.DataFrame({"a": values[:, 0], "b": values[:, 1], **columns, "label": labels})


def rows(ds: Any, **roles: Any) -> Examples:
    return read(ds, **roles)["all"]


def test_split_mnist_is_the_five_pairs_of_digits(real_data: Path) -> None:
    parts = {"train": "mnist_train", "test": "mnist_test"}
    ds = {part: real_data / f"{name}.parquet" for part, name in parts.items()}
    made = read(stream(ds))
    pairs = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert task_classes_of(made["train"]) == task_classes_of(made["test"]) == pairs
    assert len(made["train"]) == 60_000 and (np.diff(made["train"].tasks) >= 0).all()
    # The published counts of digits 0 and 1, 2 and 3, ...
    assert np.bincount(made["train"].tasks).tolist() == [12_665, 12_089, 11_263, 12_183, 11_800]
    assert np.bincount(made["test"].tasks).tolist() == [2_115, 2_042, 1_874, 1_986, 1_983]
    assert made["train"].tasks.dtype == np.int64
    read_in = read(ds)["train"]
    first = np.flatnonzero(np.isin(read_in.targets, [0, 1]))[:3]
    for shown, original in enumerate(first.tolist()):
        np.testing.assert_array_equal(
            made["train"].inputs.decode(shown), read_in.inputs.decode(original)
        )


def test_the_seed_permutes_the_classes_and_is_reproducible() -> None:
    one, again, other = (
        task_classes_of(rows(stream((X, LABELS), num_tasks=3, order_seed=seed)))
        for seed in (1, 1, 2)
    )
    assert one == again != other
    expected = np.random.default_rng(1).permutation(6).reshape(3, 2)
    assert one == np.sort(expected, axis=1).tolist()


def test_classes_are_dealt_as_evenly_as_possible_in_the_order_of_their_labels() -> None:
    names = np.asarray(NAMES, dtype=object)[LABELS]
    made = rows(stream((X, names), num_tasks=4))
    assert task_classes_of(made) == [["ant", "bee"], ["cat", "dog"], ["elk"], ["fox"]]
    alone = rows(stream((X, LABELS), num_tasks=6))
    assert task_classes_of(alone) == [[k] for k in range(6)]


def test_in_the_domain_scenario_a_label_is_a_position() -> None:
    features = datasets.Features(
        {"a": datasets.Value("float64"), "label": datasets.ClassLabel(names=NAMES)}
    )
    ds = datasets.Dataset.from_dict({"a": X[:, 0], "label": LABELS}, features=features)
    made = rows(stream(ds, scenario="domain", num_tasks=3))
    assert task_classes_of(made) == [[0, 1]] * 3
    assert made.class_names == {0: "ant / cat / elk", 1: "bee / dog / fox"}
    position = {x: (k // 2, k % 2) for x, k in zip(X[:, 0], LABELS, strict=True)}
    for x, task, target in zip(made.inputs["a"], made.tasks, made.targets, strict=True):
        assert position[x] == (task, target)
    shuffled = rows(stream(ds, scenario="domain", num_tasks=3, order_seed=4))
    order = np.random.default_rng(4).permutation(6).tolist()
    assert shuffled.class_names is not None
    assert shuffled.class_names[1] == " / ".join(NAMES[k] for k in order[1::2])
    many = stream((X, LABELS), scenario="domain", num_tasks=3)
    assert sorted(set(many[2][many[2].columns[-1]])) == [0, 1]


def test_a_column_names_the_tasks_and_is_no_input() -> None:
    year = np.repeat([2021, 2019, 2020], 20)
    ds = frame(LABELS % 2, year=year)
    made = stream(ds, scenario="domain", by="year")
    assert len(made) == made.num_tasks == 3
    examples = rows(made)
    assert list(examples.inputs.columns) == ["a", "b"]
    assert examples.input_names == ("a", "b")
    by_year = ds.sort_values("year", kind="stable")
    np.testing.assert_array_equal(examples.inputs["a"], by_year["a"])
    np.testing.assert_array_equal(examples.tasks, np.repeat([0, 1, 2], 20))
    assert sorted(set(examples.targets)) == [0, 1]
    order = np.random.default_rng(3).permutation([2019, 2020, 2021])
    shuffled = rows(stream(ds, scenario="domain", by="year", order_seed=3))
    first = ds.loc[ds["year"] == order[0], "a"].reset_index(drop=True)
    np.testing.assert_array_equal(shuffled.inputs["a"].iloc[:20], first)
    timed = rows(made, time="year", subgroups="year")
    assert timed.times is not None and timed.subgroups is not None
    np.testing.assert_array_equal(timed.times, np.repeat([2019, 2020, 2021], 20))


def test_a_list_has_a_data_set_for_each_task() -> None:
    sets = [frame(LABELS % 2, 0), frame(LABELS % 2 + 1, 1), frame([7] * 9, 2)]
    for given in (sets, tuple(sets), iter(sets)):
        made = stream(given)
        assert len(made) == 3 and list(made)[1] is sets[1] and made[-1] is sets[2]
        examples = rows(made)
        assert task_classes_of(examples) == [[0, 1], [1, 2], [7]]
        np.testing.assert_array_equal(examples.inputs["a"], pd.concat(sets)["a"])
        np.testing.assert_array_equal(examples.tasks, np.repeat([0, 1, 2], [60, 60, 9]))
    assert len(stream((frame(one) for one in (LABELS,) * 9), num_tasks=2)) == 2
    domain = rows(stream([sets[0], sets[0]], scenario="domain"))
    assert task_classes_of(domain) == [[0, 1], [0, 1]]


def test_a_pair_is_no_list_of_two() -> None:
    tensors = TensorDataset(torch.tensor(X), torch.tensor(LABELS))
    other = TensorDataset(torch.tensor(X + 1), torch.tensor(LABELS))
    for two in [((X, LABELS), (X + 1, LABELS)), (tensors, other), (frame(), frame(seed=1))]:
        assert len(stream(two)) == 2 and stream(two).sets is not None
    one_hot = pd.get_dummies(pd.Series(LABELS))
    for pair in [(X, LABELS), (X.tolist(), LABELS.tolist()), (frame(), one_hot)]:
        assert stream(pair).sets is None


def test_images_of_a_list_are_joined_whatever_they_come_from(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "images"
    for number, label in enumerate(LABELS[:6].tolist()):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(STACK[number]).save(folder / str(label) / "one.png")
    stacks = rows(stream([(STACK, LABELS), (STACK[::-1].copy(), LABELS)]))
    assert stacks.inputs.stack() is not None
    np.testing.assert_array_equal(
        stacks.inputs.stack()[..., 0], np.concatenate([STACK, STACK[::-1]])
    )
    names = LABELS.astype(str)
    mixed = rows(stream([(STACK, names), folder]))
    assert len(mixed) == N + 6 and mixed.inputs.stack() is None
    for shown, original in [(3, 3), (N, 0), (N + 5, 5)]:
        np.testing.assert_array_equal(mixed.inputs.decode(shown)[..., 0], STACK[original])
    assert "one.png" in mixed.inputs.name(N + 1)


def test_each_task_is_data_that_reads_as_its_rows_of_the_stream() -> None:
    texts = [f"text number {i} of them" for i in range(N)]
    kinds = {
        "table": frame(city=np.where(LABELS > 2, "Rome", "Oslo")),
        "pair": (X, LABELS),
        "image": (STACK, LABELS),
        "text": pd.DataFrame({"text": texts, "label": LABELS}),
        "text pair": (texts, LABELS),
    }
    for ds in kinds.values():
        made = stream(ds, num_tasks=3)
        union = rows(made)
        assert len(list(made)) == 3
        for number, task in enumerate(made):
            alone, part = rows(task), union.select(np.flatnonzero(union.tasks == number))
            assert alone.kind == part.kind and len(alone) == 20
            np.testing.assert_array_equal(alone.targets, part.targets)
            if alone.kind == "image":
                np.testing.assert_array_equal(alone.inputs.stack(), part.inputs.stack())
            elif alone.kind == "text":
                np.testing.assert_array_equal(alone.inputs, part.inputs)
            else:
                pd.testing.assert_frame_equal(alone.inputs, part.inputs.reset_index(drop=True))


def test_splits_are_kept_for_each_task() -> None:
    ds = {"train": frame(), "test": frame(LABELS[:12], 1)}
    made = stream(ds, num_tasks=2)
    assert list(made[1]) == ["train", "test"]
    assert sorted(set(made[1]["test"]["label"])) == [3, 4, 5]
    parts = read(made)
    assert np.bincount(parts["test"].tasks).tolist() == [6, 6]
    both = read(stream([ds, ds], scenario="domain"))
    assert {part: len(one) for part, one in both.items()} == {"train": 2 * N, "test": 24}


def test_roles_are_carried_in_the_order_of_tasks() -> None:
    weights = np.arange(N, dtype=np.float64) + 1
    ds = frame(LABELS, who=[f"p{i}" for i in range(N)], when=np.arange(N))
    made = rows(
        stream(ds, num_tasks=3), group="who", time="when", subgroups="who", sample_weight=weights
    )
    order = np.argsort(LABELS // 2, kind="stable")
    np.testing.assert_array_equal(made.times, order)
    np.testing.assert_array_equal(made.weights, order + 1)
    np.testing.assert_array_equal(made.groups, [f"p{i}" for i in order])
    joined = rows(stream([ds, ds]), group="who", subgroups="who")
    assert joined.groups is not None and joined.subgroups is not None
    assert len(joined.groups) == len(joined.subgroups) == 2 * N


def test_a_stream_says_what_it_is() -> None:
    made = stream(frame(), num_tasks=3, order_seed=2, boundaries=False, blur=0.25)
    assert repr(made) == (
        "<Stream of 3 tasks, scenario='class', order_seed=2, boundaries=False, blur=0.25, from a "
        "DataFrame>"
    )
    assert "data sets such as a DataFrame" in repr(stream([frame(), frame()]))
    with pytest.raises(AttributeError):
        made.blur = 0.5  # type: ignore[misc]
    with pytest.raises(IndexError, match="no task 3"):
        made[3]
    assert mlexpert.data.stream is stream and isinstance(made, Stream)
    code = (
        "import sys, mlexpert.data; assert 'rotated' in dir(mlexpert.data); "
        "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_task_classes_of_rows_without_tasks_are_refused() -> None:
    with pytest.raises(InputError, match="of no stream"):
        task_classes_of(rows((X, LABELS)))
    refuse_absent_tasks({"all": rows((X, LABELS))})  # nothing is asked of them


TEXTS = pd.DataFrame({"text": [f"a text of number {i}" for i in range(N)], "label": LABELS})
NAMED = datasets.Features({"a": datasets.Value("float64"), "label": datasets.ClassLabel(2)})
OTHERS = datasets.Features(
    {"a": datasets.Value("float64"), "label": datasets.ClassLabel(names=["x", "y"])}
)


def named(features: datasets.Features) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"a": X[:, 0], "label": LABELS % 2}, features=features)


@pytest.mark.parametrize(
    ("ds", "arguments", "message"),
    [
        ((X, LABELS), {"scenario": "clas"}, r"scenario='clas'.*Did you mean 'class'\?"),
        ((X, LABELS), {"num_tasks": 0}, "num_tasks=0; it takes a whole number from 1"),
        ((X, LABELS), {"num_tasks": 2.5}, "num_tasks=2.5"),
        ((X, LABELS), {"boundaries": 1}, "boundaries=1; it takes True or False"),
        ((X, LABELS), {"boundaries": False, "blur": 1.5}, "blur=1.5; it is a share"),
        ((X, LABELS), {"boundaries": False, "blur": float("nan")}, "blur=nan"),
        ((X, LABELS), {"blur": 0.5}, "no boundary that could be told"),
        ((X, LABELS), {"order_seed": -1}, "order_seed=-1"),
        ([frame(), frame()], {"order_seed": 1}, "a list has an order of its own"),
        (frame(), {"by": "a"}, "scenario='domain' and not 'class'"),
        ([frame(), frame()], {"by": "a", "scenario": "domain"}, "a list is divided already"),
        (frame(), {"by": "lable", "scenario": "domain"}, "no column 'lable'.*Did you mean 'label'"),
        (frame(year=LABELS), {"by": "year", "scenario": "domain", "num_tasks": 4}, "6 values.*=4"),
        ([frame()] * 3, {"num_tasks": 5}, r"3 data set\(s\), and num_tasks=5"),
        (iter([frame()] * 3), {"num_tasks": 5}, r"ended after 3 data set\(s\), and num_tasks=5"),
        ([], {}, "there is no data set"),
        (stream((X, LABELS)), {}, "a stream already"),
        ([frame(), stream((X, LABELS))], {}, "data set 1 is a stream itself"),
    ],
)
def test_what_is_no_stream_is_refused_when_it_is_declared(
    ds: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        stream(ds, **arguments)


@pytest.mark.parametrize(
    ("ds", "arguments", "message"),
    [
        ((X, LABELS), {"num_tasks": 7}, "num_tasks=7, and there are 6 classes"),
        ((X, LABELS), {"num_tasks": 4, "scenario": "domain"}, "6 classes.*4 tasks.*may be 1, 2, 3"),
        ((X, LABELS), {"num_tasks": 6, "scenario": "domain"}, "two or more to each"),
        ((X, LABELS), {"num_tasks": 5, "scenario": "task"}, "task 1 has one class only, 2"),
        ([frame(LABELS % 2), frame([4] * 9)], {"scenario": "task"}, "task 1 has one class only, 4"),
        ([frame(LABELS % 2), frame(LABELS % 2 + 1)], {"scenario": "task"}, "class 1 .* returns"),
        (
            [frame(LABELS % 2), frame(LABELS % 3)],
            {"scenario": "domain"},
            r"task 1 has label\(s\) '2' that task 0 lacks",
        ),
        ([frame(), (STACK, LABELS)], {}, "data set 1 are of kind 'image'.*'tabular'"),
        ([frame(), TEXTS], {}, "data set 1 are of kind 'text'"),
        ([frame(), frame().drop(columns="b")], {}, "lacks 'b', and has besides none"),
        ([frame(), frame(c=1.0)], {}, "lacks none, and has besides 'c'"),
        ([frame(), frame().assign(b="x")], {}, "'b' holds categories in data set 1 and numbers"),
        ([frame(), frame(LABELS.astype(str))], {}, "another type .str. than"),
        ([named(NAMED), named(OTHERS)], {}, "label 0 is called 'x' in data set 1 and '0'"),
        ([frame(), frame(np.zeros(0, int))], {}, "data set 1 of the stream: the data has no rows"),
        ([frame(), {"train": frame(), "test": frame()}], {}, "splits 'test', 'train', and .* none"),
        ((X, [[0, 1], [2]] * 30), {}, "one class each, and these have sets of labels"),
        ((X, RNG.normal(size=N)), {}, "regression target"),
        (
            {"train": frame(), "test": frame([0, 1] * 9)},
            {"num_tasks": 3},
            "test split has no row o",
        ),
        (
            frame(year=np.where(LABELS > 2, None, "a")),
            {"by": "year", "scenario": "domain"},
            "lacks",
        ),
        ((X, LABELS * 0), {}, "one class only"),
    ],
)
def test_what_no_stream_can_be_made_of_is_refused_when_it_is_read(
    ds: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(stream(ds, **arguments))


def test_a_value_that_train_lacks_is_no_task() -> None:
    ds = {"train": frame(city=["a", "b"] * 30), "test": frame(city=["a", "c"] * 30)}
    with pytest.raises(InputError, match="test split holds 'c' in column 'city'"):
        read(stream(ds, scenario="domain", by="city"))


def test_a_stream_is_refused_where_it_cannot_be_used() -> None:
    made = stream((X, LABELS), num_tasks=3)
    with pytest.raises(InputError, match="choose a task"):
        read(made, for_prediction=True)
    with pytest.raises(InputError, match="predicts numbers"):
        read(made, objective="values")
    with pytest.raises(InputError, match="name their column"):
        read(stream([frame(), frame()]), sample_weight=np.ones(2 * N))
    with pytest.raises(InputError, match="inputs are of kind 'tabular'"):
        read(permuted((X, LABELS)))
