"""Every bad input has its own error, before anything is trained."""

from __future__ import annotations

import re

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mlexpert.data.as_trained import read_inputs
from mlexpert.data.intake import read
from mlexpert.data.schema import describe
from mlexpert.errors import InputError

N = 12
X = np.arange(2.0 * N).reshape(N, 2)
Y = np.arange(N) % 2
FRAME = pd.DataFrame({"age": np.arange(N) % 5, "job": ["smith", "clerk", "baker"] * 4, "label": Y})
IMAGES = np.zeros((N, 4, 4, 3), np.uint8)
TEXTS = [f"a text of several words, number {i}" for i in range(N)]


def with_label(values) -> pd.DataFrame:
    return FRAME.assign(label=pd.Series(values))


def with_age(values) -> pd.DataFrame:
    return FRAME.assign(age=pd.Series(values))


NOT_ENOUGH = {
    "empty frame": (FRAME.head(0), {}, "the data has no rows"),
    "empty arrays": ((np.zeros((0, 2)), np.zeros(0)), {}, "the data has no rows"),
    "empty split": ({"train": FRAME, "test": FRAME.head(0)}, {}, "test split has no rows"),
    "empty dataset": (datasets.Dataset.from_dict({"x": [], "label": []}), {}, "no rows"),
    "lengths": ((X, Y[:-1]), {}, "X has 12 rows and y has 11"),
    "one class": (with_label([1] * N), {}, "one class only .1 in all 12 rows"),
    "one-hot": ((X, np.eye(N)), {}, r"shape \(12, 12\).*argmax"),
    "no labels": (X, {}, r"the pair \(X, y\)"),
    "no data at all": (None, {}, "NoneType is not known. Give a datasets.Dataset"),
    "string as y": ((FRAME, "label"), {}, "y is a str"),
    "one feature": ((X[:, 0], Y), {}, r"reshape\(-1, 1\)"),
    "one image": ((np.zeros((12, 6, 3), np.uint8), Y), {}, r"looks like one image: .* X\[None\]"),
    "five dimensions": ((np.zeros((N, 1, 1, 1, 1)), Y), {}, "neither a table"),
    "ragged": (([[1, 2], [3]] * 6, Y), {}, "differ in length"),
    "numbers for rows": (([1, 2] * 6, Y), {}, "list of int"),
    "columns of a dict": ({"age": [1, 2], "label": [0, 1]}, {}, "DataFrame"),
}
LABELS = {
    "missing": (with_label([0, 1, None] * 4), {}, r"lacks a label in 4 of 12 rows .*2, 5, 8, 11"),
    "missing strings": (with_label(["a", None, "b"] * 4), {}, "lacks a label in 4 of 12"),
    "missing NaN": ((X, np.where(Y == 1, np.nan, 0.0)), {}, "lacks a label in 6 of 12"),
    "infinite": ((X, np.where(Y == 1, np.inf, 0.0)), {}, "6 infinite label"),
    "mixed": (with_label([1, "a"] * 6), {}, "mixes labels of types int .*1.*str .*'a'"),
    "mixed list": ((X, [1, "a"] * 6), {}, "mixes labels"),
    "mixed booleans": ((X, [True, 2] * 6), {}, "mixes labels of types bool"),
    "all unique": (
        with_label([f"id{i}" for i in range(N)]),
        {},
        "different label in each of its 12",
    ),
    "regression": (with_label(np.arange(N) / 4), {}, "not whole .such as 0.25.: .* regression"),
    "many numbers": (
        (np.zeros((99, 2)), np.arange(99) // 2),
        {},
        "50 different numbers in 99 rows",
    ),
    "dates": (with_label(pd.date_range("2024", periods=N)), {}, "labels are str, int"),
    "unknown in test": (
        {"train": FRAME, "test": with_label([0, 7] * 6)},
        {},
        "test split .*lacks: '7'",
    ),
    "other type in test": (
        {"train": FRAME, "test": with_label(["0", "1"] * 6)},
        {},
        "another type",
    ),
}
COLUMNS = {
    "target": (FRAME, {"target": "lable"}, "no column 'lable', named by target=.*mean 'label'"),
    "target list": (FRAME, {"target": ["label", 3]}, "takes names of columns, not a int"),
    "no target": (
        FRAME.rename(columns={"label": "z"}),
        {},
        "with target=. columns: 'age', 'job', 'z'",
    ),
    "two targets": (FRAME.assign(Target=Y), {}, r"more than one .*'label', 'Target'"),
    "inputs": (FRAME, {"inputs": ["age", "jib"]}, "no column 'jib', named by inputs=.*mean 'job'"),
    "no inputs": (FRAME, {"inputs": []}, "names no column"),
    "nothing left": (FRAME[["label"]], {}, "no column is left"),
    "target as input": (FRAME, {"inputs": ["age", "label"]}, "target and an input"),
    "group": (FRAME, {"group": "person"}, "no column 'person', named by group="),
    "time": (FRAME, {"time": "ago"}, "named by time=.*mean 'age'"),
    "subgroups": (FRAME, {"subgroups": ["job", "sex"]}, "no column 'sex', named by subgroups="),
    "group missing": (FRAME.assign(g=[None, 1.0] * 6), {"group": "g"}, "'g' lacks a group in 6"),
    "time missing": (FRAME.assign(t=[None, 1.0] * 6), {"time": "t"}, "'t' lacks a time in 6"),
    "time unordered": (
        FRAME.assign(t="Monday"),
        {"time": "t"},
        r"'t' cannot be put in order[^\n]*$",
    ),
    "target as group": (FRAME, {"group": "label"}, "'label' is the target; group= takes another"),
    "target as time": (FRAME, {"time": "label"}, "'label' is the target; time= takes another"),
    "inputs twice": (FRAME, {"inputs": ["age", "age"]}, "'age' is named more than once by inputs="),
    "test column": (
        {"train": FRAME, "test": FRAME.drop(columns="job")},
        {},
        "test split has no column 'job'.*leave that split out",
    ),
    "repeated": (pd.concat([FRAME, FRAME["age"]], axis=1), {}, "more than one is named 'age'"),
    "two images": (
        pd.DataFrame({"a": [b"x"] * N, "b": [b"x"] * N, "y": Y}),
        {},
        "one image column",
    ),
    "image and table": (
        pd.DataFrame({"a": [b"x"] * N, "b": Y, "y": Y}),
        {"inputs": ["a", "b"]},
        "not both",
    ),
    "lists": (FRAME.assign(tags=[[1]] * N), {}, "'tags' holds values of type list"),
    "text beside": (FRAME.assign(note=TEXTS), {}, "'note' looks like free text.*inputs='note'"),
    "infinite": (with_age([np.inf, 1.0] * 6), {}, "'age' holds 6 infinite .*row 0"),
    "beyond float32": (with_age([1e300, 1.0] * 6), {}, "'age' holds 6 infinite"),
    "infinite array": (
        (np.where(X == 3, -np.inf, X), Y),
        {},
        "column 'x1' holds 1 infinite .*row 1",
    ),
    "NaN array": (
        (torch.tensor(np.where(X == 3, np.nan, X)), Y),
        {},
        r"NaN in 1 place.*column 'x1' of row 1.*pd\.DataFrame\(X\)",
    ),
    "complex": (with_age(np.ones(N, complex)), {}, "complex numbers"),
    "period": (with_age(pd.period_range("2024", periods=N)), {}, "neither a number nor a category"),
    "words in test": ({"train": FRAME, "test": with_age(["x"] * N)}, {}, "must hold numbers.*'x'"),
    "no text": (({"a": 1}, Y), {}, "inputs of type dict"),
    "text missing": (([None, *TEXTS[1:]], Y), {}, "lacks a text in 1 of 12 rows .*: 0"),
    "text of numbers": (([3, *TEXTS[1:]][::-1], Y), {}, "strings and, in row 11, a int"),
    "image missing": (([None] + [Image.new("L", (2, 2))] * 11, Y), {}, "lacks an image in 1 of 12"),
    "image NaN": ((np.full((N, 4, 4, 3), np.nan), Y), {}, "NaN or infinite"),
    "image range": ((np.full((N, 4, 4, 3), 9.0), Y), {}, "divide by 255"),
    "items": (torch.utils.data.TensorDataset(torch.zeros(N)), {}, "pairs"),
    "loader": (torch.utils.data.DataLoader([(1, 0)]), {}, r"loader\.dataset"),
    "transform": (
        datasets.Dataset.from_dict({"x": X, "label": Y}).with_transform(lambda rows: rows),
        {},
        r"a transform .*map\(.*with_format\(None\)",
    ),
}


@pytest.mark.parametrize(
    ("ds", "arguments", "message"),
    [
        pytest.param(*case, id=name)
        for cases in (NOT_ENOUGH, LABELS, COLUMNS)
        for name, case in cases.items()
    ],
)
def test_the_error_says_what_was_seen(ds, arguments, message):
    with pytest.raises(InputError) as error:
        read(ds, **arguments)
    assert re.search(message, str(error.value), flags=re.DOTALL), str(error.value)


def test_a_class_label_of_minus_one_is_a_missing_label():
    features = datasets.Features(
        {"x": datasets.Value("float32"), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    ds = datasets.Dataset.from_dict(
        {"x": range(6), "label": [0, 1, 0, 1, -1, -1]}, features=features
    )
    with pytest.raises(InputError, match=r"lacks a label in 2 of 6 rows \(first rows: 4, 5\)"):
        read(ds)


def test_class_names_of_splits_must_agree():
    def part(names):
        features = datasets.Features(
            {"x": datasets.Value("float32"), "label": datasets.ClassLabel(names=names)}
        )
        return datasets.Dataset.from_dict({"x": range(4), "label": [0, 1, 0, 1]}, features=features)

    with pytest.raises(InputError, match=r"test split names its classes otherwise"):
        read({"train": part(["a", "b"]), "test": part(["b", "a"])})


def test_splits_are_named_once():
    with pytest.raises(InputError, match=r"more than one split is a validation split"):
        read({"train": FRAME, "val": FRAME, "dev": FRAME})
    with pytest.raises(InputError, match=r"must hold the splits 'train'"):
        read({"validation": FRAME, "test": FRAME})
    with pytest.raises(InputError, match=r"holds splits itself"):
        read({"train": {"train": FRAME, "test": FRAME}, "test": FRAME})


def test_an_image_lacking_in_a_dataset_is_named():
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    rows = {"image": [Image.new("L", (2, 2)), None, None], "label": [0, 1, 0]}
    with pytest.raises(InputError, match=r"'image' lacks an image in 2 of 3 rows .*1, 2"):
        read(datasets.Dataset.from_dict(rows, features=features))


# --- files


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "data.xlsx").write_bytes(b"x")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "nothing.csv").write_bytes(b"")
    (tmp_path / "broken.csv.gz").write_bytes(b"no gzip")
    (tmp_path / "binary.csv").write_bytes(b"a,y\n\xff\xfe,1\n")
    (tmp_path / "wide.csv").write_bytes(b"a,y\n1,2\n1,2,3\n")
    FRAME.to_csv(tmp_path / "german.csv", index=False, sep=";")
    datasets.Dataset.from_pandas(FRAME).save_to_disk(tmp_path / "arrow")
    for name, message in [
        ("german.csv", r"one column, 'age;job;label'.*sep=';'"),
        ("wide.csv", "line 3, saw 3$"),
        ("arrow", r"save_to_disk: pass datasets\.load_from_disk"),
        ("data.xlsx", "ends in none of '.parquet', '.csv'"),
        ("broken.parquet", "broken.parquet' cannot be read as .parquet"),
        ("nothing.csv", "nothing.csv' is empty"),
        ("broken.csv.gz", "cannot be read as .csv.gz"),
        ("binary.csv", "cannot be read as .csv"),
        ("dada.xlsx", "no file or folder .*Did you mean 'data.xlsx'"),
        ("no/such/folder", "no file or folder"),
    ]:
        with pytest.raises(InputError, match=message):
            read(tmp_path / name)


def test_a_hub_that_cannot_be_reached_is_said(monkeypatch):
    def load_dataset(name):
        raise ConnectionError(f"Couldn't reach '{name}' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(
        InputError, match=r"'imdb' is neither a file .*offline.*Couldn't reach 'imdb'"
    ):
        read("imdb")


# --- rows to predict


def describe_texts():
    return describe(read((TEXTS, Y))["all"].select(np.arange(N), part="train"))


def describe_table():
    return describe(read(FRAME)["all"].select(np.arange(N), part="train"))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (FRAME.rename(columns={"job": "jobs"}), "column.s. 'job' .* missing.*mean 'jobs'"),
        (X[:, :1], "X has 1 columns; the model was trained on 2: 'age', 'job'"),
        (np.zeros((2, 3)), "X has 3 columns"),
        (with_age(["old"] * N), "'age' must hold numbers; 12 .*'old'"),
        (with_age([np.inf] * N), "infinite"),
        (FRAME.head(0), "no rows to predict"),
        ([], "empty"),
        (IMAGES, "columns 'age', 'job', not images"),
        ({"train": FRAME, "test": FRAME}, "one set of rows"),
        (3, "inputs of type int"),
        (pd.Series([1.0, 2.0]), r"frame\.iloc\[\[i\]\]"),
        (torch.utils.data.DataLoader([(1, 0)]), r"loader\.dataset"),
    ],
)
def test_predicting_from_a_wrong_table(x, message):
    with pytest.raises(InputError, match=message):
        read_inputs(x, kind="tabular", schema=describe_table())


def test_predicting_from_a_wrong_kind():
    schema = describe_texts()
    for text in ("what a film", "word", "x" * 10_000):
        with pytest.raises(InputError, match="Texts to predict are given in a list"):
            read_inputs(text, kind="text", schema=schema)
    with pytest.raises(InputError, match=r"one column of texts, and 0 are found"):
        read_inputs(X, kind="text", schema=schema)
    with pytest.raises(InputError, match=r"one column of texts, and 2 are found.*column alone"):
        frame = pd.DataFrame({"title": TEXTS, "body": TEXTS})
        read_inputs(frame, kind="text", schema=schema)
    with pytest.raises(InputError, match=r"one column of images, and 0 are found"):
        read_inputs(FRAME, kind="image", schema=schema)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (IMAGES[0, :, :, 0], r"\(4, 4\) looks like one image: .* X\[None\]"),
        (IMAGES[0], r"\(4, 4, 3\) looks like one image"),
        (torch.zeros(3, 4, 4), r"\(3, 4, 4\) looks like one image.*3 grey images X\[:, None\]"),
        (Image.new("L", (4, 4)), r"one image: \[image\]"),
    ],
)
def test_predicting_from_one_image(x, message):
    schema = describe(read((IMAGES, Y))["all"].select(np.arange(N), part="train"))
    with pytest.raises(InputError, match=message):
        read_inputs(x, kind="image", schema=schema)


def test_predicting_from_an_array_of_the_wrong_width_after_an_array():
    schema = describe(read((X, Y))["all"].select(np.arange(N), part="train"))
    with pytest.raises(InputError, match=r"X has 3 columns; the model was trained on 2"):
        read_inputs(np.zeros((4, 3)), kind="tabular", schema=schema)
