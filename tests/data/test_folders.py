"""Folders of class folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlexpert.data.intake import read
from mlexpert.errors import InputError


def fill(folder: Path, classes: dict[str, int], size: int = 4) -> Path:
    for k, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            suffix = (".png", ".JPG", ".webp")[i % 3]
            image = Image.new("RGB", (size, size + i % 2), (k * 40, i * 10, 0))
            image.save(folder / name / f"{i}{suffix}")
    return folder


def test_class_folders_are_labels(tmp_path):
    fill(tmp_path, {"dog": 3, "ant": 4})
    (tmp_path / "ant" / "more").mkdir()
    Image.new("L", (2, 2)).save(tmp_path / "ant" / "more" / "x.png")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "ant" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "dog" / "notes.txt").write_text("x")
    examples = read(str(tmp_path))["all"]
    assert examples.kind == "image"
    assert examples.targets.tolist() == ["ant"] * 5 + ["dog"] * 3
    assert examples.inputs.decode(4).shape == (2, 2, 1)
    assert "1 file(s)" in examples.notes[0]


def test_folders_of_splits_keep_them(tmp_path):
    fill(tmp_path / "Train", {"a": 3, "b": 3})
    fill(tmp_path / "val", {"a": 1, "b": 2})
    fill(tmp_path / "test", {"a": 2})
    parts = read(tmp_path)
    assert {name: part.targets.tolist() for name, part in parts.items()} == {
        "train": ["a", "a", "a", "b", "b", "b"],
        "validation": ["a", "b", "b"],
        "test": ["a", "a"],
    }
    alone = read(tmp_path / "Train")
    assert list(alone) == ["all"]


def test_a_class_may_be_called_test(tmp_path):
    fill(tmp_path, {"test": 2, "production": 2})
    assert set(read(tmp_path)["all"].targets) == {"test", "production"}


def test_loose_images_are_read_for_prediction_only(tmp_path):
    fill(tmp_path / "deep", {"": 3})
    examples = read(tmp_path, for_prediction=True)["all"]
    assert examples.targets is None
    assert len(examples) == 3
    with pytest.raises(InputError, match=r"no class folders with images .*3 image\(s\) lie in it"):
        read(tmp_path / "deep")


def test_a_corrupt_file_is_named_before_anything_else(tmp_path):
    fill(tmp_path, {"ant": 3, "dog": 7})
    for name in ("0.png", "1.JPG", "2.webp"):
        path = tmp_path / "dog" / name
        path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"3 of 10 image files cannot be decoded: .*dog/0\.png"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({}, "holds no class folders"),
        ({"a": 3, "b": 0}, r"b' holds no images .*\.png"),
        ({"a": 3}, "one class only"),
        ({"a": 1, "b": 1}, "different label in each"),
    ],
)
def test_folders_that_hold_too_little(tmp_path, classes, message):
    with pytest.raises(InputError, match=message):
        read(fill(tmp_path, classes))
    with pytest.raises(InputError, match="holds no images"):
        read(fill(tmp_path / "empty", {"": 0}), for_prediction=True)


def test_pixels_are_those_of_the_files(tmp_path):
    fill(tmp_path, {"ant": 2, "dog": 2})
    images = read(tmp_path)["all"].inputs
    np.testing.assert_array_equal(images.decode(2)[0, 0], [40, 0, 0])
