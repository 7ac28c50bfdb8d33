"""Labelled rows to evaluate a trained model on: fewer demands than on rows to train on."""

from __future__ import annotations

import datasets
import numpy as np
import pandas as pd
import pytest

from mlexpert.data.as_trained import read_inputs, read_labelled
from mlexpert.data.encode import encode_table
from mlexpert.data.intake import read
from mlexpert.data.schema import Schema, describe
from mlexpert.errors import InputError

N = 24
LABELS = np.arange(N) % 2
TABLE = pd.DataFrame({"age": np.arange(N) % 5 + 0.5, "job": ["a", "b", "c"] * 8, "label": LABELS})
STACK = np.random.default_rng(0).integers(0, 256, (N, 6, 5, 3), dtype=np.uint8)
TEXTS = [f"this is sentence number {i} of a few" for i in range(N)]


def schema_of(ds, **roles) -> Schema:
    return describe(read(ds, **roles)["all"].select(np.arange(N), part="train"))


def named(names: list[str]) -> datasets.Dataset:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    )
    return datasets.Dataset.from_dict({"text": TEXTS, "label": LABELS}, features=features)


@pytest.mark.parametrize(
    "form",
    [
        lambda frame: frame,
        lambda frame: frame[["label", "job", "age"]].assign(extra="x"),
        lambda frame: (frame[["age", "job"]], frame["label"]),
        lambda frame: (frame[["age", "job"]].to_numpy(object), frame["label"].tolist()),
        lambda frame: {"test": frame},
        lambda frame: frame.rename(columns={"label": "Target"}),
        datasets.Dataset.from_pandas,
    ],
)
def test_every_form_gives_the_rows_and_labels_of_training(form):
    schema = schema_of(TABLE)
    rows = read_labelled(form(TABLE), schema=schema, target="label")
    assert rows.targets.tolist() == LABELS.tolist()
    expected = read_inputs(TABLE, kind="tabular", schema=schema).inputs
    for table in (rows.inputs, expected):
        assert list(table.columns) == ["age", "job"]
    np.testing.assert_array_equal(
        encode_table(rows.inputs, schema.columns), encode_table(expected, schema.columns)
    )


def test_columns_that_only_the_split_needed_may_be_missing():
    frame = TABLE.assign(person=np.arange(N) // 2, day=range(N), sex="f")
    roles = {"group": "person", "time": "day", "inputs": ["age", "job"], "subgroups": ["sex"]}
    schema = schema_of(frame, target="label", **roles)
    assert len(read_labelled(TABLE, schema=schema, target="label")) == N


@pytest.mark.parametrize("rows", [TABLE.head(1), TABLE[TABLE["label"] == 1], TABLE.head(2)])
def test_one_row_one_class_and_classes_all_different_are_enough(rows):
    found = read_labelled(rows, schema=schema_of(TABLE), target="label")
    assert found.targets.tolist() == rows["label"].tolist()


def test_images_and_texts():
    rows = read_labelled((STACK[:3], [1, 1, 1]), schema=schema_of((STACK, LABELS)), target="y")
    np.testing.assert_array_equal(rows.inputs.decode(2), STACK[2])
    frame = pd.DataFrame({"text": ["same"] * 6, "id": "q", "label": [0] * 6})
    schema = schema_of((TEXTS, LABELS))
    rows = read_labelled(frame, schema=schema, target="label", inputs=["text"])
    assert rows.kind == "text" and rows.inputs.tolist() == ["same"] * 6


@pytest.mark.parametrize(
    ("ds", "message"),
    [
        (TABLE.head(0), "no rows to evaluate on"),
        (TABLE.drop(columns="label"), "no labels: there is no column 'label', as in training"),
        (TABLE.drop(columns="age"), "'age' that the model was trained on are missing"),
        (TABLE.assign(label=None), "lacks a label in 24 of 24"),
        ({"train": TABLE, "test": TABLE}, "one set of rows is needed"),
        ((STACK, LABELS), "columns 'age', 'job', not images"),
        ((np.zeros((N, 3)), LABELS), "X has 3 columns"),
    ],
)
def test_a_wrong_set_of_rows_is_named(ds, message):
    with pytest.raises(InputError, match=message):
        read_labelled(ds, schema=schema_of(TABLE), target="label")


def test_rows_of_another_kind_are_refused():
    with pytest.raises(InputError, match="one column of images, and 0 are found"):
        read_labelled(TABLE, schema=schema_of((STACK, LABELS)), target="label")


def test_classes_numbered_otherwise_are_refused():
    schema = schema_of(named(["ham", "spam"]))
    assert len(read_labelled(named(["ham", "spam"]), schema=schema, target="label")) == N
    with pytest.raises(InputError, match="label 0 is called 'spam' here and 'ham' in training"):
        read_labelled(named(["spam", "ham"]), schema=schema, target="label")
    unnamed = schema_of((TEXTS, LABELS))  # trained on numbers, evaluated on numbers with names
    assert len(read_labelled(named(["ham", "spam"]), schema=unnamed, target="label")) == N
