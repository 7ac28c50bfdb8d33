"""Rows of several labels: every form gives the same sets, and what is no such form is refused."""

from __future__ import annotations

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import MultiLabelBinarizer

from mlexpert.data.as_trained import read_labelled
from mlexpert.data.encode import encode_targets
from mlexpert.data.intake import read
from mlexpert.data.schema import describe
from mlexpert.errors import InputError

RNG = np.random.default_rng(0)
N = 24
X = RNG.normal(size=(N, 2))
MATRIX = (RNG.random((N, 3)) < 0.4).astype(int)
MATRIX[:2] = [[0, 0, 0], [1, 1, 0]]
NAMES = ["ant", "bee", "cat"]
NUMBERS = [np.flatnonzero(row).tolist() for row in MATRIX]
WORDS = [[NAMES[k] for k in row] for row in NUMBERS]


class Rows(torch.utils.data.Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


def dataset() -> datasets.Dataset:
    labels = datasets.List(datasets.ClassLabel(names=NAMES))
    features = datasets.Features({"x": datasets.Value("float64"), "tags": labels})
    return datasets.Dataset.from_dict({"x": X[:, 0], "tags": NUMBERS}, features=features)


FORMS = {
    "matrix": lambda: (X, MATRIX),
    "booleans": lambda: (X, MATRIX.astype(bool)),
    "floats": lambda: (X, MATRIX.astype(np.float32)),
    "tensor": lambda: (torch.from_numpy(X), torch.from_numpy(MATRIX)),
    "tensor dataset": lambda: torch.utils.data.TensorDataset(
        torch.from_numpy(X), torch.from_numpy(MATRIX)
    ),
    "nested list": lambda: (X, MATRIX.tolist()),
    "lists of numbers": lambda: (X, NUMBERS),
    "column of arrays": lambda: pd.DataFrame({"x": X[:, 0], "y": list(map(np.array, NUMBERS))}),
    "column of 0 and 1": lambda: pd.DataFrame({"x": X[:, 0], "y": MATRIX.tolist()}),
    "torch pairs": lambda: Rows(
        [(torch.tensor(x), torch.tensor(y)) for x, y in zip(X, MATRIX, strict=True)]
    ),
    "torch dicts": lambda: Rows([{"x": x[0], "y": y} for x, y in zip(X, NUMBERS, strict=True)]),
    "torch dicts of vectors": lambda: Rows(
        [{"x": x, "labels": torch.tensor(y)} for x, y in zip(X[:, 0], MATRIX, strict=True)]
    ),
    "dataset": dataset,
    "streamed dataset": lambda: dataset().to_iterable_dataset(),
    "frame y": lambda: (X, pd.DataFrame(MATRIX, columns=NAMES)),
    "lists of words": lambda: (X, WORDS),
    "series of tuples": lambda: (X, pd.Series([tuple(row) for row in WORDS])),
    "repeated and unsorted": lambda: (X, [[*row[::-1], *row] for row in WORDS]),
    "sets": lambda: (X, list(map(set, WORDS))),
    "column of lists": lambda: pd.DataFrame({"x": X[:, 0], "labels": WORDS}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_sets(form):
    examples = read(FORMS[form]())["all"]
    named = any(isinstance(label, str) for labels in examples.targets for label in labels)
    assert examples.objective == "multilabel"
    assert examples.targets.tolist() == [tuple(row) for row in (WORDS if named else NUMBERS)]
    assert len(examples.input_names) in (1, 2)
    schema = describe(examples.select(np.arange(N), part="train"))
    assert schema.objective == "multilabel"
    assert schema.class_counts == tuple(MATRIX.sum(axis=0))
    expected = MultiLabelBinarizer().fit_transform(examples.targets)
    encoded = encode_targets(examples.targets, schema)
    assert encoded.dtype == torch.float32
    np.testing.assert_array_equal(encoded, expected)
    again = read_labelled(FORMS[form](), schema=schema, target=examples.target_name)
    assert again.targets.tolist() == examples.targets.tolist()


def test_several_columns_are_labels_by_their_names():
    frame = pd.DataFrame(MATRIX, columns=["cat", "ant", "bee"]).assign(x=X[:, 0])
    examples = read(frame.astype({"ant": bool}), target=["cat", "ant", "bee"])["all"]
    assert examples.target_name == ("cat", "ant", "bee")
    assert examples.input_names == ("x",)
    assert examples.targets[1] == ("ant", "cat")
    schema = describe(examples.select(np.arange(N), part="train"))
    rows = read_labelled(frame.head(3), schema=schema, target=["cat", "ant", "bee"])
    assert rows.targets.tolist() == examples.targets[:3].tolist()
    with pytest.raises(InputError, match="no labels: there is no column 'cat', 'ant', 'bee'"):
        read_labelled(frame[["x", "ant"]], schema=schema, target=["cat", "ant", "bee"])
    assert read(frame, target=["cat"], inputs="x")["all"].objective == "classification"


def test_declared_names_are_kept():
    examples = read(dataset(), target="tags")["all"]
    assert examples.class_names == dict(enumerate(NAMES))
    assert describe(examples.select(np.arange(N), part="train")).class_names == tuple(NAMES)


def test_images_and_texts_may_have_several_labels():
    stack = RNG.integers(0, 256, (N, 5, 5), dtype=np.uint8)
    assert read((stack, MATRIX))["all"].objective == "multilabel"
    texts = pd.DataFrame({"text": [f"text number {i} of a few" for i in range(N)], "tags": WORDS})
    examples = read(texts, target="tags")["all"]
    assert (examples.kind, examples.objective) == ("text", "multilabel")


def test_a_label_without_rows_is_noted():
    examples = read((X, np.concatenate([MATRIX, np.zeros((N, 1))], axis=1)))["all"]
    assert examples.notes == ("label(s) '3' left out: no row has them",)


def test_the_index_of_a_frame_of_labels_does_not_matter():
    shuffled = pd.DataFrame(MATRIX, index=np.arange(N)[::-1])
    assert read((X, shuffled))["all"].targets.tolist() == read((X, MATRIX))["all"].targets.tolist()


ONE_EACH = np.eye(3)[np.arange(N) % 3]


@pytest.mark.parametrize(
    ("ds", "arguments", "message"),
    [
        ((X, ONE_EACH), {}, r"shape \(24, 3\) and exactly one 1 in each row.*argmax"),
        (
            pd.DataFrame(ONE_EACH, columns=NAMES).assign(x=1.0),
            {"target": NAMES},
            "exactly one 1 in each row.*idxmax",
        ),
        ((X, ONE_EACH.tolist()), {}, r"shape \(24, 3\) and exactly one 1 in each row"),
        ((X, MATRIX * 2), {}, r"y has shape \(24, 3\).*0 and 1 for each of K labels"),
        ((X, MATRIX + 0.5), {}, r"y has shape \(24, 3\)"),
        ((X, MATRIX[:-1]), {}, "X has 24 rows and y has 23"),
        ((X, np.where(MATRIX == 1, np.nan, 0)), {}, "lacks a label in .* of 24 rows"),
        ((X, [["a"], ["b", "a"]] * 12), {"target": "q"}, None),
        ((X, [["a"], [1]] * 12), {}, "mixes labels of types str .*'a'.*, int"),
        ((X, [["a"], [None]] * 12), {}, "lacks a label"),
        ((X, [["a"], [float("nan")]] * 12), {}, "lacks a label"),
        ((X, [["a"], None] * 12), {}, r"lacks labels \(an empty list has none\) in 12 of 24"),
        ((X, [["a"], "b"] * 12), {}, "in row 1, a str and not a list of labels"),
        ((X, [[0.5], [1.0, 0.5]] * 12), {}, "labels are whole numbers or strings"),
        ((X, [[True], [True, False]] * 12), {}, "labels are whole numbers or strings"),
        ((X, [[["a"]], [["b"]]] * 12), {}, "holds values of types 'list'"),
        ((X, [[]] * N), {}, "empty sets of labels only"),
        ((X, [["a", "b"], ["b", "a"]] * 12), {}, r"same labels, \('a', 'b'\), in all 24 rows"),
        (
            pd.DataFrame({"x": X[:, 0], "a": [0, 1, 2] * 8, "b": 1}),
            {"target": ["a", "b"]},
            "holds 2 for label 'a'",
        ),
        (
            pd.DataFrame({"x": X[:, 0], "a": WORDS, "b": 1}),
            {"target": ["a", "b"]},
            "'a', named by target=, holds no labels: .* list",
        ),
        (
            pd.DataFrame({"x": X[:, 0], "a": 1}),
            {"target": ["a", "c"]},
            "no column 'c', named by target=",
        ),
        (pd.DataFrame({"x": X[:, 0], "a": 1}), {"target": []}, "target= names no column"),
        (
            {"train": (X, WORDS), "test": (X, [[*row, "dog"] for row in WORDS])},
            {},
            "test split holds 1 label.*lacks: 'dog'",
        ),
        (
            {"train": (X, WORDS), "test": (X, ["ant", "bee"] * 12)},
            {},
            "test split holds one label a row, and the train split sets of labels",
        ),
        (dataset().map(lambda row: {"tags": [-1, *row["tags"]]}), {"target": "tags"}, "no name"),
    ],
)
def test_what_are_no_sets_of_labels_is_refused(ds, arguments, message):
    if message is None:  # a pair whose labels get a name is fine
        assert read(ds, **arguments)["all"].target_name == "q"
        return
    with pytest.raises(InputError, match=message):
        read(ds, **arguments)


def test_evaluating_on_other_targets_or_labels_is_refused():
    examples = read((X, WORDS))["all"]
    schema = describe(examples.select(np.arange(N), part="train"))
    with pytest.raises(InputError, match="one label a row, and the model was trained on sets"):
        read_labelled((X, ["ant", "bee"] * 12), schema=schema, target="y")
    rows = read_labelled((X, [["dog"]] * N), schema=schema, target="y")
    with pytest.raises(InputError, match="'dog' are not among the classes of training: 'ant'"):
        encode_targets(rows.targets, schema)
    one_hot = read_labelled((X[:3], np.eye(3)), schema=describe_matrix(), target="y")
    assert one_hot.targets.tolist() == [(0,), (1,), (2,)]


def test_two_labels_a_row_are_no_matrix_where_there_are_more_labels():
    sets = [[0], [1], [0, 1], [2, 0], [], [1, 2]] * 4
    schema = describe(read((X, sets))["all"].select(np.arange(N), part="train"))
    assert schema.classes == (0, 1, 2)
    few = read_labelled((X[:2], [[0, 1], [1, 0]]), schema=schema, target="y")
    assert few.targets.tolist() == [(0, 1), (0, 1)]
    matrix = read_labelled((X[:2], [[0, 1, 0], [1, 0, 1]]), schema=schema, target="y")
    assert matrix.targets.tolist() == [(1,), (0, 2)]


def describe_matrix():
    return describe(read((X, MATRIX))["all"].select(np.arange(N), part="train"))
