"""Predictions of every objective, the most probable labels, and rows that come as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from mlexpert.data import streams
from mlexpert.errors import InputError
from mlexpert.fitted import Fitted
from mlexpert.recipes import get
from tests.small_data import images, table, texts

FRESH = table(50, seed=3)
INPUTS = FRESH.drop(columns="bought")


def trained(recipe: str, ds: Any, folder: Path, target: Any = None, **fields) -> Fitted:
    quick = {"epochs": 3, "batch_size": 64, "precision": "fp32"}
    if recipe.startswith("tabular"):
        quick |= {"members": 4, "width": 16}
    return get(recipe, **{**quick, **fields}).fit(ds, target=target, run_dir=folder, progress=False)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    rows = table(300)
    some = np.random.default_rng(1).random(len(rows)) < 0.3
    rows.loc[some, "bought"] = "perhaps"
    return trained("tabular-cls", rows, tmp_path_factory.mktemp("run"), "bought")


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    rng, rows = np.random.default_rng(1), table(300).drop(columns="bought")
    old = rows["age"] + rng.normal(0, 6, len(rows)) > 42
    rome = (rows["city"] == "Rome") ^ (rng.random(len(rows)) < 0.1)
    rows = rows.assign(old=old * 1, rome=rome * 1)
    folder = tmp_path_factory.mktemp("run")
    return trained("tabular-cls", rows, folder, ["old", "rome"], epochs=10)


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    rows = table(300)
    noise = np.random.default_rng(1).normal(0, 6, len(rows))
    rows["bought"] = 100 * (rows["age"] + noise)
    return trained("tabular-reg", rows, tmp_path_factory.mktemp("run"), "bought", epochs=10)


# What is predicted


def test_several_labels_are_tuples_of_them(labels: Fitted) -> None:
    said, probabilities = labels.predict(FRESH), labels.predict_proba(FRESH)
    thresholds = labels.parts.decide.state_dict()["thresholds"].numpy()
    expected = [
        tuple(label for label, p, t in zip(labels.classes_, row, thresholds, strict=True) if p >= t)
        for row in probabilities
    ]
    assert said.dtype == object and said.tolist() == expected
    assert len(set(expected)) > 2
    assert "2 labels" in repr(labels)


def test_numbers_are_in_the_users_unit_and_have_no_probabilities(values: Fitted) -> None:
    said = values.predict(FRESH)
    assert said.dtype == np.float64 and said.shape == (50,)
    assert np.corrcoef(said, FRESH["age"])[0, 1] > 0.8
    assert 3000 < said.mean() < 5000
    errors = said - 100 * FRESH["age"].to_numpy()
    metrics = values.evaluate(FRESH.assign(bought=100 * FRESH["age"]))
    assert metrics["rmse"] == pytest.approx(np.sqrt((errors**2).mean()))
    for ask in (values.predict_proba, values.predict_topk):
        with pytest.raises(InputError, match="predicts a number, which has no probabilities"):
            ask(FRESH)
    assert "regression" in repr(values)


def test_topk_is_the_sorted_probabilities(classes: Fitted, labels: Fitted) -> None:
    for fitted, number in ((classes, 2), (classes, np.int64(3)), (labels, 2)):
        names, probabilities = fitted.predict_topk(FRESH, k=number)
        expected = torch.tensor(fitted.predict_proba(FRESH)).topk(number)
        np.testing.assert_array_equal(probabilities, expected.values)
        np.testing.assert_array_equal(names, fitted.classes_[expected.indices])


@pytest.mark.parametrize("number", [0, 4, 5, 1.0, True])
def test_topk_of_more_than_there_are(classes: Fitted, number) -> None:
    with pytest.raises(InputError, match=rf"k={number!r}.*1 to 3"):
        classes.predict_topk(FRESH, k=number)


# Streams


def same_as_at_once(fitted: Fitted, stream: Any, x: Any, rows_at_once: int = 16) -> list[int]:
    """Compare a stream with one call on all rows; return the sizes of the pieces."""
    pieces = list(fitted.predict_stream(stream, rows_at_once=rows_at_once))
    sizes = [len(piece) for piece in pieces]
    assert [piece.start for piece in pieces] == [sum(sizes[:place]) for place in range(len(sizes))]
    said, expected = np.concatenate([p.predictions for p in pieces]), fitted.predict(x)
    if fitted.schema.objective == "regression":
        np.testing.assert_allclose(said, expected, rtol=1e-5)
    else:
        np.testing.assert_array_equal(said, expected)
    if fitted.schema.objective != "regression":
        together = np.concatenate([piece.probabilities for piece in pieces])
        np.testing.assert_allclose(together, fitted.predict_proba(x), atol=1e-6)
    return sizes


class Streamed(IterableDataset):
    def __init__(self, items: list) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


def test_rows_of_every_form_are_predicted_as_at_once(classes: Fitted) -> None:
    import datasets

    records = INPUTS.to_dict("records")
    forms = {
        "dicts": iter(records),
        "torch": Streamed(records),
        "lists": (list(row.values()) for row in records),
        "labelled": ((list(row.values()), "yes") for row in records),
        "frame": FRESH,
        "dataset": datasets.Dataset.from_pandas(FRESH),
        "streamed": datasets.Dataset.from_pandas(FRESH).to_iterable_dataset(),
    }
    for name, stream in forms.items():
        assert same_as_at_once(classes, stream, INPUTS) == [16, 16, 16, 2], name


def test_batches_stay_as_they_are(classes: Fitted) -> None:
    frames = [FRESH.iloc[:7], FRESH.iloc[7:40], FRESH.iloc[40:]]
    assert same_as_at_once(classes, iter(frames), INPUTS) == [7, 33, 10]
    columns = [frame.to_dict("list") for frame in frames]
    assert same_as_at_once(classes, iter(columns), INPUTS) == [7, 33, 10]
    assert same_as_at_once(classes, [*frames[:2], *frames[2].to_dict("records")], INPUTS) == [
        *(7, 33, 10)
    ]


def test_arrays_and_loaders(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)
    y = (x[:, 0] + np.random.default_rng(1).normal(size=90) > 0).astype(int)
    fitted = trained("tabular-cls", (x, y), tmp_path / "run")
    pairs = TensorDataset(torch.tensor(x), torch.tensor(y))
    assert same_as_at_once(fitted, x, x, 40) == [40, 40, 10]
    assert same_as_at_once(fitted, (x, y), x, 40) == [40, 40, 10]
    assert same_as_at_once(fitted, iter(x), x, 40) == [40, 40, 10]
    assert same_as_at_once(fitted, pairs, x, 40) == [40, 40, 10]
    assert same_as_at_once(fitted, DataLoader(pairs, batch_size=32), x, 40) == [32, 32, 26]


@pytest.mark.parametrize("objective", ["labels", "values"])
def test_other_objectives(objective: str, request: pytest.FixtureRequest) -> None:
    fitted = request.getfixturevalue(objective)
    assert same_as_at_once(fitted, FRESH, FRESH, 30) == [30, 20]
    (piece, *_) = fitted.predict_stream(FRESH)
    assert (piece.probabilities is None) == (objective == "values")


def test_files_are_read_piece_by_piece(classes: Fitted, tmp_path: Path) -> None:
    import datasets

    FRESH.to_csv(tmp_path / "rows.csv", index=False)
    FRESH.to_csv(tmp_path / "rows.tsv.gz", index=False, sep="\t")
    FRESH.to_parquet(tmp_path / "rows.parquet")
    datasets.Dataset.from_pandas(FRESH).to_parquet(str(tmp_path / "of_datasets.parquet"))
    for file in sorted(tmp_path.iterdir()):
        assert same_as_at_once(classes, file, INPUTS) == [16, 16, 16, 2], file.name
        assert same_as_at_once(classes, str(file), str(file)) == [16, 16, 16, 2]


def test_a_csv_is_read_as_in_training_in_pieces_at_once_and_with_labels(tmp_path: Path) -> None:
    rows = table(200)
    hint = (rows["bought"] == "yes") ^ (np.random.default_rng(0).random(200) < 0.2)
    rows["city"] = np.where(hint, "01", "02")  # by itself a column of numbers
    rows["bought"] = np.where(rows["bought"] == "yes", "1", "0")  # and so is this one
    fitted = trained("tabular-cls", rows, tmp_path / "run", "bought", epochs=10)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    same_as_at_once(fitted, tmp_path / "rows.csv", rows)
    file = str(tmp_path / "rows.csv")
    np.testing.assert_allclose(fitted.predict_proba(file), fitted.predict_proba(rows), atol=1e-6)
    assert fitted.evaluate(file) == pytest.approx(fitted.evaluate(rows), nan_ok=True)


def test_a_piece_of_a_csv_does_not_change_the_type_of_a_column(tmp_path: Path) -> None:
    rows = table(200)
    hint = (rows["bought"] == "yes") ^ (np.random.default_rng(0).random(200) < 0.2)
    rows["city"] = np.where(hint, "007", "A7")
    fitted = trained("tabular-cls", rows, tmp_path / "run", "bought", epochs=10)
    sorted_rows = rows.sort_values("city")  # so that the first piece holds nothing but 007
    sorted_rows.to_csv(tmp_path / "rows.csv", index=False)
    same_as_at_once(fitted, tmp_path / "rows.csv", sorted_rows)


def test_texts_and_images(tmp_path: Path) -> None:
    rows = texts()
    spam = trained("imbalanced-cls", rows, tmp_path / "texts", "label", epochs=1)
    lines = rows["message"].tolist()[:40]
    for stream in (iter(lines), zip(lines, rows["label"], strict=False), [lines[:16], lines[16:]]):
        same_as_at_once(spam, stream, lines)
    pixels, target = images()
    bright = trained("imbalanced-cls", (pixels, target), tmp_path / "images", epochs=1)
    (tmp_path / "folder").mkdir()
    pictures = [Image.fromarray(one) for one in pixels[:40]]
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"folder/{number:02d}.png")
    batches = [torch.tensor(pixels[:10, None] / 255), torch.tensor(pixels[10:40, None] / 255)]
    keyed = ({"image": picture, "label": 0} for picture in pictures)
    for stream in (pixels[:40], iter(pixels[:40]), pictures, keyed, tmp_path / "folder"):
        assert same_as_at_once(bright, stream, pixels[:40]) == [16, 16, 8]
    assert same_as_at_once(bright, batches, pixels[:40]) == [10, 30]


def test_a_stream_without_end_is_not_read_ahead(classes: Fitted) -> None:
    taken = 0

    def endless() -> Iterator[dict]:
        nonlocal taken
        records = INPUTS.to_dict("records")
        while True:
            taken += 1
            yield records[taken % len(records)]

    stream = classes.predict_stream(endless(), rows_at_once=8)
    assert taken == 0
    for number in range(1, 4):
        assert len(next(stream)) == 8
        assert taken == 8 * number


def test_an_error_names_the_row_in_the_stream(classes: Fitted) -> None:
    records = INPUTS.to_dict("records")
    records[21]["age"] = float("inf")
    stream = classes.predict_stream(iter(records), rows_at_once=16)
    assert len(next(stream)) == 16
    with pytest.raises(InputError, match=r"^row 21 of the stream: .*infinite.*first in row 21"):
        next(stream)
    without = ({"age": 1.0} for _ in range(3))
    with pytest.raises(InputError, match="row 0 of the stream.*'income'"):
        next(classes.predict_stream(without))


def test_a_torn_file_says_how_far_it_could_be_read(classes: Fitted, tmp_path: Path) -> None:
    text = FRESH.to_csv(index=False).splitlines()
    text[30] += ",one,cell,more"
    (tmp_path / "rows.csv").write_text("\n".join(text))
    stream = classes.predict_stream(tmp_path / "rows.csv", rows_at_once=16)
    assert len(next(stream)) == 16
    with pytest.raises(InputError, match=r"rows\.csv.*cannot be read after row 16"):
        next(stream)


def test_an_empty_file_is_called_so(classes: Fitted, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("")
    with pytest.raises(InputError, match=r"rows\.csv' is empty"):
        next(classes.predict_stream(tmp_path / "rows.csv"))


@pytest.mark.parametrize("number", [0, -1, 2.5, True])
def test_pieces_of_no_size(classes: Fitted, number) -> None:
    with pytest.raises(InputError, match="rows_at_once="):
        classes.predict_stream(iter([]), rows_at_once=number)


def test_what_is_no_stream(classes: Fitted) -> None:
    assert list(classes.predict_stream(iter([]))) == []
    with pytest.raises(InputError, match="rows of type int"):
        classes.predict_stream(3)
    with pytest.raises(InputError, match="splits 'train'"):
        next(classes.predict_stream({"train": FRESH, "test": FRESH}))
    for item in (None, {}, 1.0, np.int64(3)):
        with pytest.raises(InputError, match="item 1 of the stream is .* and no row"):
            list(classes.predict_stream([INPUTS, item]))


def test_an_empty_batch_is_passed_over(classes: Fitted) -> None:
    empty = INPUTS.iloc[:0]
    batches = [empty, INPUTS.iloc[:20], empty, empty.to_dict("list"), [], INPUTS.iloc[20:]]
    assert same_as_at_once(classes, batches, INPUTS) == [20, 30]
    assert list(classes.predict_stream([empty])) == []


def test_no_row_of_a_ragged_batch_is_dropped(classes: Fitted) -> None:
    batch = {"age": [1.0, 2.0, 3.0], "income": [1.0, 2.0], "city": ["Rome", "Oslo", "Rome"]}
    with pytest.raises(InputError, match=r"differ in length: .*'income': 2"):
        list(classes.predict_stream([batch]))


def test_a_file_is_read_by_pieces_as_it_is_at_once(tmp_path: Path) -> None:
    codes = np.arange(200) % 3
    often = np.random.default_rng(0).random(200) < np.where(codes == 2, 0.9, 0.1)
    rows = table(200).assign(code=pd.Categorical(codes), bought=np.where(often, "yes", "no"))
    fitted = trained("tabular-cls", rows, tmp_path / "run", "bought", epochs=6)
    assert set(fitted.schema.columns[-1].categories) == {"0", "1", "2"}
    gap = rows.assign(code=rows["code"].astype(float)).drop(columns="bought")
    gap.loc[3, "code"] = np.nan  # which makes 1.0 of 1
    gap.to_csv(tmp_path / "rows.csv", index=False)
    pieces = fitted.predict_stream(str(tmp_path / "rows.csv"), rows_at_once=64)
    said = np.concatenate([piece.probabilities for piece in pieces])
    np.testing.assert_allclose(said, fitted.predict_proba(gap), atol=1e-6)


def test_one_image_is_not_taken_for_a_batch() -> None:
    grey, colour = np.zeros((5, 8, 8)), np.zeros((8, 8, 3))
    assert streams._is_batch(grey, "image") and not streams._is_batch(colour, "image")
    assert not streams._is_batch(colour[..., 0], "image")
    assert streams._is_batch(colour[None], "image")
    assert streams._is_batch(np.zeros((80, 1, 1)), "image")
    assert not streams._is_batch(np.zeros((1, 1, 1)), "image")
