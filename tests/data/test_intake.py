"""Every supported form of data gives the same examples."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mlexpert.data.as_trained import read_inputs
from mlexpert.data.encode import encode_table
from mlexpert.data.intake import read
from mlexpert.data.schema import describe

RNG = np.random.default_rng(0)
N = 24
STACK = RNG.integers(0, 256, (N, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(N) % 3
TEXTS = [f"this is sentence number {i} of a few" for i in range(N)]
NAMES = ["ant", "bee", "cat"]


def pil() -> list[Image.Image]:
    return [Image.fromarray(image) for image in STACK]


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "age": np.arange(N) % 7 + 0.5,
            "job": ["clerk", "smith", None, "clerk"] * (N // 4),
            "label": np.asarray(NAMES, dtype=object)[LABELS],
        }
    )


class Rows(torch.utils.data.Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(zip(pil(), LABELS, strict=True))


def image_dataset() -> datasets.Dataset:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    )
    return datasets.Dataset.from_dict({"image": pil(), "label": LABELS}, features=features)


def stream_of(dataset: datasets.Dataset) -> datasets.IterableDataset:
    return dataset.to_iterable_dataset()


TENSOR = torch.from_numpy(STACK)
BACKWARDS = range(N - 1, -1, -1)
IMAGE_SOURCES = {
    "dataset": image_dataset,
    "indexed dataset": lambda: image_dataset().select(BACKWARDS).select(BACKWARDS),
    "streamed dataset": lambda: stream_of(image_dataset()),
    "single split": lambda: datasets.DatasetDict({"train": image_dataset()}),
    "array pair": lambda: (STACK, LABELS),
    "channels first": lambda: (np.moveaxis(STACK, 3, 1), LABELS.tolist()),
    "floats": lambda: (STACK / 255.0, LABELS),
    "tensor pair": lambda: (TENSOR.permute(0, 3, 1, 2), torch.from_numpy(LABELS)),
    "tensor dataset": lambda: torch.utils.data.TensorDataset(
        TENSOR.permute(0, 3, 1, 2), torch.from_numpy(LABELS)
    ),
    "list of images": lambda: (pil(), list(LABELS)),
    "torch pairs": lambda: Rows(list(zip(pil(), LABELS, strict=True))),
    "torch tensors": lambda: Rows(
        [(TENSOR[i].permute(2, 0, 1), torch.tensor(LABELS[i])) for i in range(N)]
    ),
    "torch dicts": lambda: Rows(
        [{"pixels": image, "label": y} for image, y in zip(pil(), LABELS, strict=True)]
    ),
    "torch subset": lambda: torch.utils.data.Subset(
        Rows(list(zip(pil(), LABELS, strict=True))), range(N)
    ),
    "torch stream": Stream,
    "frame of images": lambda: pd.DataFrame({"image": pil(), "label": LABELS}),
    "frame of a dataset": lambda: image_dataset().to_pandas(),
}  # fmt: skip


@pytest.mark.parametrize("source", IMAGE_SOURCES)
def test_images_from_every_form(source):
    examples = read(IMAGE_SOURCES[source]())["all"]
    assert examples.kind == "image"
    assert len(examples) == N
    assert examples.part is None
    assert examples.targets.dtype == np.int64
    np.testing.assert_array_equal(examples.targets, LABELS)
    for i in range(N):
        np.testing.assert_array_equal(examples.inputs.decode(i), STACK[i])


def test_class_label_names_are_kept():
    examples = read(image_dataset())["all"]
    assert examples.class_names == {0: "ant", 1: "bee", 2: "cat"}
    assert examples.target_name == "label"
    assert examples.input_names == ("image",)


def test_streamed_dict_and_dataset_dict_keep_the_users_split():
    ds = image_dataset()
    splits = {
        "train": ds.select(range(12)),
        "valid": ds.select(range(12, 18)),
        "test": ds.select(range(18, N)),
    }
    for form in (
        datasets.DatasetDict(splits),
        datasets.IterableDatasetDict({name: stream_of(part) for name, part in splits.items()}),
        {name.upper(): part for name, part in splits.items()},
        {name: (STACK[rows], LABELS[rows]) for name, rows in
         {"train": slice(12), "dev": slice(12, 18), "test": slice(18, N)}.items()},
    ):  # fmt: skip
        parts = read(form)
        assert {name: len(part) for name, part in parts.items()} == {
            "train": 12, "validation": 6, "test": 6
        }  # fmt: skip
        np.testing.assert_array_equal(parts["test"].targets, LABELS[18:])
        np.testing.assert_array_equal(parts["test"].inputs.decode(0), STACK[18])


def test_other_splits_are_left_out_by_name():
    ds = image_dataset()
    parts = read(datasets.DatasetDict({"train": ds, "test": ds, "unsupervised": ds}))
    assert set(parts) == {"train", "test"}
    assert any("'unsupervised'" in note for note in parts["train"].notes)


TEXT_SOURCES = {
    "dataset": lambda: datasets.Dataset.from_dict({"text": TEXTS, "label": LABELS}),
    "streamed": lambda: stream_of(datasets.Dataset.from_dict({"text": TEXTS, "label": LABELS})),
    "frame": lambda: pd.DataFrame({"sms": TEXTS, "label": LABELS}),
    "lists": lambda: (TEXTS, LABELS.tolist()),
    "array": lambda: (np.array(TEXTS), LABELS),
    "objects": lambda: (np.array(TEXTS, dtype=object), pd.Series(LABELS)),
    "series": lambda: (pd.Series(TEXTS), pd.Series(LABELS)),
    "torch pairs": lambda: Rows(list(zip(TEXTS, LABELS, strict=True))),
}


@pytest.mark.parametrize("source", TEXT_SOURCES)
def test_texts_from_every_form(source):
    examples = read(TEXT_SOURCES[source]())["all"]
    assert examples.kind == "text"
    assert examples.inputs.tolist() == TEXTS
    assert all(type(text) is str for text in examples.inputs)
    np.testing.assert_array_equal(examples.targets, LABELS)


def written(frame: pd.DataFrame, folder: Path, name: str) -> Path:
    path = folder / name
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(
        path, index=False, sep="\t" if ".tsv" in name else ","
    )
    return path


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "b.csv.gz", "c.tsv", "d.v2.CSV"])
@pytest.mark.parametrize("as_text", [True, False])
def test_tables_from_files_are_those_of_the_frame(tmp_path, name, as_text):
    path = written(table(), tmp_path, name)
    expected = read(table())["all"]
    examples = read(str(path) if as_text else path)["all"]
    assert examples.kind == "tabular"
    pd.testing.assert_frame_equal(examples.inputs, expected.inputs)
    assert examples.targets.tolist() == expected.targets.tolist() == table()["label"].tolist()


TABLE_SOURCES = {
    "dataset": lambda: datasets.Dataset.from_pandas(table()),
    "nullable": lambda: table().convert_dtypes(),
    "arrow types": lambda: table().convert_dtypes(dtype_backend="pyarrow"),
    "objects": lambda: table().astype(object),
    "categories": lambda: table().astype({"job": "category", "label": "category"}),
    "pair": lambda: (table()[["age", "job"]], table()["label"]),
    "pair of arrays": lambda: (table()[["age", "job"]], table()["label"].to_numpy(object)),
    "other index": lambda: table().set_index(pd.Index(range(100, 100 + N))),
    "torch dicts": lambda: Rows(
        table().astype(object).where(table().notna(), None).to_dict("records")
    ),
}  # fmt: skip


@pytest.mark.parametrize("source", TABLE_SOURCES)
def test_tables_from_every_form(source):
    expected = read(table())["all"]
    examples = read(TABLE_SOURCES[source]())["all"]
    assert examples.kind == "tabular"
    pd.testing.assert_frame_equal(examples.inputs, expected.inputs)
    assert examples.targets.tolist() == table()["label"].tolist()


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, lambda x: x.tolist()])
def test_a_matrix_is_a_table_with_numbered_columns(kind):
    x = RNG.normal(size=(N, 4))
    examples = read((kind(x), LABELS))["all"]
    assert list(examples.inputs.columns) == ["x0", "x1", "x2", "x3"]
    np.testing.assert_array_equal(examples.inputs.to_numpy(), x)


def test_vectors_of_a_torch_dataset_are_a_table():
    x = RNG.normal(size=(N, 3)).astype(np.float32)
    rows = [(torch.from_numpy(x[i]), int(LABELS[i])) for i in range(N)]
    np.testing.assert_array_equal(read(Rows(rows))["all"].inputs.to_numpy(), x)


def test_images_of_different_sizes_from_a_torch_dataset():
    rows = [(torch.full((3, 4 + i % 2, 5), i / N), i % 2) for i in range(N)]
    images = read(Rows(rows))["all"].inputs
    assert images.decode(1).shape == (5, 5, 3)
    assert images.decode(0).shape == (4, 5, 3)


@pytest.mark.parametrize(
    "labels",
    [
        [True, False] * 12,
        ["a", "b"] * 12,
        [1, -1] * 12,
        [1.0, 2.0] * 12,
        np.array([0, 5] * 12, np.int8),
        torch.tensor([0, 1] * 12, dtype=torch.int32),
        np.array([[3], [4]] * 12),
        pd.Categorical(["u", "v"] * 12),
    ],
)
def test_labels_stay_as_they_are(labels):
    examples = read((RNG.normal(size=(N, 2)), labels))["all"]
    assert examples.targets.tolist() == np.asarray(labels).ravel().tolist()
    assert type(examples.targets.tolist()[0]) in (bool, int, float, str)


def test_roles_named_by_the_user():
    frame = table().assign(
        person=[f"p{i // 2}" for i in range(N)], day=pd.date_range("2024-01-01", periods=N)
    )
    examples = read(frame, group="person", time="day", subgroups="job")["all"]
    assert list(examples.inputs.columns) == ["age", "job"]
    assert examples.groups.tolist() == frame["person"].tolist()
    assert (np.diff(examples.times) == 86_400).all()
    assert examples.subgroups["job"].dropna().tolist() == frame["job"].dropna().tolist()
    strings = read(
        frame.assign(day=frame["day"].dt.strftime("%Y-%m-%d")), time="day", group="person"
    )
    np.testing.assert_array_equal(strings["all"].times, examples.times)
    assert list(read(frame, inputs=["age", "day"])["all"].inputs.columns) == ["age", "day"]
    assert list(read(frame, inputs="person", target="label")["all"].input_names) == ["person"]


def test_a_named_index_is_left_out_and_noted():
    examples = read(table().assign(person=np.arange(N)).set_index("person"))["all"]
    assert "person" not in examples.input_names
    assert any("'person'" in note and "reset_index()" in note for note in examples.notes)


def test_an_image_beside_other_columns_is_the_input_and_the_rest_is_noted():
    frame = pd.DataFrame({"photo": pil(), "age": np.arange(N), "label": LABELS})
    examples = read(frame)["all"]
    assert examples.kind == "image"
    assert "'age'" in examples.notes[0]
    assert read(frame, inputs="age")["all"].kind == "tabular"


def test_a_text_beside_other_columns_is_chosen_by_name():
    frame = pd.DataFrame({"id": np.arange(N), "text": TEXTS, "label": LABELS})
    assert read(frame, inputs="text")["all"].kind == "text"
    assert read(frame, inputs=["id", "text"])["all"].kind == "tabular"


def test_few_distinct_strings_are_categories():
    frame = pd.DataFrame(
        {"color": ["red", "blue"] * 12, "shape": ["round", "flat", "odd"] * 8, "y": LABELS}
    )
    assert read(frame)["all"].kind == "tabular"
    assert read(frame, inputs="color")["all"].kind == "tabular"


def test_subgroups_of_images_and_texts_are_no_inputs():
    frame = pd.DataFrame({"photo": pil(), "sex": ["f", "m"] * 12, "label": LABELS})
    examples = read(frame, subgroups="sex")["all"]
    assert examples.kind == "image"
    assert examples.subgroups["sex"].tolist() == ["f", "m"] * 12
    assert examples.notes == ()
    frame = pd.DataFrame({"sex": ["f", "m"] * 12, "text": TEXTS, "label": LABELS})
    assert read(frame, subgroups=["sex"])["all"].input_names == ("text",)


def test_a_class_label_among_the_inputs_is_a_category():
    features = datasets.Features(
        {
            "color": datasets.ClassLabel(names=["red", "blue"]),
            "size": datasets.Value("float32"),
            "label": datasets.ClassLabel(names=NAMES),
        }
    )
    rows = {"color": [0, 1] * 12, "size": range(N), "label": LABELS}
    examples = read(datasets.Dataset.from_dict(rows, features=features), target="label")["all"]
    assert examples.inputs["color"].tolist() == ["red", "blue"] * 12
    assert examples.inputs["size"].dtype == np.float32


def test_one_split_may_declare_names_that_another_lacks():
    plain = pd.DataFrame({"image": pil(), "label": LABELS})
    parts = read({"train": plain, "test": image_dataset()})
    assert parts["test"].class_names == dict(enumerate(NAMES))


def test_dates_and_booleans_become_numbers():
    frame = table().assign(
        when=pd.to_datetime(["1970-01-02", None] * 12),
        local=pd.to_datetime(["1970-01-02T00:00"] * N).tz_localize("Europe/Paris"),
        took=pd.to_timedelta([90] * N, unit="s"),
        flag=[True, False] * 12,
        maybe=pd.Series([True, None] * 12, dtype=object),
    )
    inputs = read(frame)["all"].inputs
    assert inputs["when"].iloc[0] == 86_400
    assert np.isnan(inputs["when"].iloc[1])
    assert inputs["local"].iloc[0] == 86_400 - 3_600
    assert inputs["took"].iloc[0] == 90
    assert inputs["flag"].tolist() == [1.0, 0.0] * 12
    assert inputs["maybe"].iloc[0] == 1
    assert np.isnan(inputs["maybe"].iloc[1])


def test_demo_is_the_packaged_data():
    parts = read("demo")
    assert {name: len(part) for name, part in parts.items()} == {"train": 4_964, "test": 2_000}
    assert parts["train"].kind == "image"
    assert parts["train"].class_names[9] == "Ankle boot"


def test_a_parquet_file_in_image_layout_writes_nothing(tmp_path):
    path = tmp_path / "images.parquet"
    image_dataset().to_parquet(path)
    before = sorted(tmp_path.rglob("*"))
    examples = read(path)["all"]
    np.testing.assert_array_equal(examples.inputs.decode(7), STACK[7])
    assert examples.class_names == dict(enumerate(NAMES))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_hub_name_is_loaded(monkeypatch):
    asked = []

    def load_dataset(name):
        asked.append(name)
        return datasets.DatasetDict({"train": image_dataset(), "test": image_dataset()})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert set(read("someone/animals")) == {"train", "test"}
    assert asked == ["someone/animals"]


def test_real_files_have_the_documented_rows_and_classes(real_data):
    adult = read(
        {part: real_data / f"adult_{part}.parquet" for part in ("train", "test")}, target="income"
    )
    assert {name: len(part) for name, part in adult.items()} == {"train": 32_561, "test": 16_281}
    schema = describe(adult["train"].select(np.arange(32_561), part="train"))
    assert dict(zip(schema.classes, schema.class_counts, strict=True)) == {
        "<=50K": 24_720,
        ">50K": 7_841,
    }
    jobs = pd.read_parquet(real_data / "adult_train.parquet")["workclass"]
    column = next(column for column in schema.columns if column.name == "workclass")
    assert column.missing == jobs.isna().mean()
    assert column.categories[0] == jobs.mode()[0]
    trec = read(real_data / "trec_train.parquet", target="coarse_label", inputs="text")["all"]
    assert trec.kind == "text"
    assert np.bincount(trec.targets).min() == 86
    spam = read(real_data / "sms_spam.parquet")["all"]
    assert spam.kind == "text"
    assert sorted(np.bincount(spam.targets)) == [747, 4_827]


# --- rows to predict


def fitted_table():
    train = read(table())["all"].select(np.arange(N), part="train")
    return train, describe(train)


@pytest.mark.parametrize(
    "form",
    [
        lambda frame: frame,
        lambda frame: frame.drop(columns="label"),
        lambda frame: frame[["job", "label", "age"]].assign(extra=1),
        lambda frame: frame.drop(columns="label").to_numpy(object),
        lambda frame: frame.drop(columns="label").to_numpy(object).tolist(),
        lambda frame: (frame.drop(columns="label"), frame["label"]),
        lambda frame: (frame.drop(columns="label").to_numpy(object), frame["label"]),
        lambda frame: frame.assign(age=frame["age"].astype(str)),
        lambda frame: {"test": frame},
        lambda frame: datasets.Dataset.from_pandas(frame),
    ],
)
def test_predicting_rows_read_as_training_rows(form):
    train, schema = fitted_table()
    examples = read_inputs(form(table()), kind="tabular", schema=schema)
    expected = encode_table(train.inputs, schema.columns)
    torch.testing.assert_close(
        encode_table(examples.inputs, schema.columns), expected, rtol=0, atol=0, equal_nan=True
    )
    assert examples.targets is None


def test_predicting_one_row_and_an_empty_cell():
    _, schema = fitted_table()
    row = pd.DataFrame({"age": [None], "job": ["pilot"]})
    encoded = encode_table(read_inputs(row, kind="tabular", schema=schema).inputs, schema.columns)
    assert encoded[0, 0].isnan()
    assert encoded[0, 1] == 1


def test_whole_numbers_as_categories_read_alike_after_a_missing_value():
    frame = pd.DataFrame(
        {"zip": pd.Categorical([7, 8] * 12), "n": np.arange(N) % 5, "label": LABELS}
    )
    train = read(frame)["all"].select(np.arange(N), part="train")
    schema = describe(train)
    rows = pd.DataFrame({"zip": [7.0, np.nan, 8.0, 9.0], "n": 1})
    encoded = encode_table(read_inputs(rows, kind="tabular", schema=schema).inputs, schema.columns)
    assert encoded[:, 0].tolist() == [2, 0, 3, 1]


def test_predicting_images_and_texts(tmp_path):
    train = read(image_dataset())["all"].select(np.arange(N), part="train")
    schema = describe(train)
    for i, image in enumerate(pil()):
        (tmp_path / "deep").mkdir(exist_ok=True)
        image.save(tmp_path / "deep" / f"{i:02d}.png")
    for x in (
        image_dataset(),
        STACK,
        TENSOR,
        pil(),
        tmp_path,
        sorted(tmp_path.rglob("*.png")),
        (STACK, LABELS),
        torch.utils.data.TensorDataset(TENSOR),
        Rows(pil()),
    ):
        images = read_inputs(x, kind="image", schema=schema).inputs
        np.testing.assert_array_equal(images.decode(5), STACK[5])
    train = read((TEXTS, LABELS))["all"].select(np.arange(N), part="train")
    schema = describe(train)
    frame = pd.DataFrame({"id": ["a", "b"] * 12, "sms": TEXTS, "label": NAMES * 8})
    for x in (TEXTS, np.array(TEXTS), pd.Series(TEXTS), frame, frame[["sms"]], (TEXTS, LABELS)):
        assert read_inputs(x, kind="text", schema=schema).inputs.tolist() == TEXTS
    assert read_inputs(frame, kind="text", schema=schema, inputs=("id",)).inputs[0] == "a"


def test_reading_for_prediction_needs_no_labels():
    examples = read(RNG.normal(size=(3, 2)), for_prediction=True)["all"]
    assert examples.targets is None
    examples = read(table().head(1), target="label", for_prediction=True)["all"]
    assert examples.targets.tolist() == ["ant"]


def test_reading_imports_no_torch():
    import subprocess
    import sys

    code = (
        "import sys, json; from mlexpert.data.intake import read; import pandas as pd; "
        "read(pd.DataFrame({'a': [1, 2, 3, 4], 'y': [0, 1, 0, 1]})); "
        "print(json.dumps([m for m in ('torch', 'datasets') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_images_of_one_pixel_and_lists_of_narrow_ones_are_stacks_for_fit_and_predict():
    pixels = np.arange(N, dtype=np.uint8).reshape(N, 1, 1)
    narrow = np.arange(3 * N, dtype=np.uint8).reshape(N, 1, 3)
    for x in (pixels, torch.tensor(pixels), list(pixels), list(narrow)):
        rows = read((x, LABELS))["all"]
        again = read_inputs(x, kind="image", schema=describe(replace(rows, part="train")))
        for found in (rows, again):
            given = x if isinstance(x, np.ndarray) else np.stack([np.asarray(one) for one in x])
            np.testing.assert_array_equal(found.inputs.stack()[..., 0], given)
