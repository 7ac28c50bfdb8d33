"""Permuted and rotated images: against numpy's and scipy's own, and kept in one split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mlexpert.data import permuted, rotated
from mlexpert.data.intake import read
from mlexpert.data.splits import split
from mlexpert.data.tasks.coverage import task_classes_of
from mlexpert.data.tasks.transformed import Permutation, Rotation
from mlexpert.errors import InputError

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 256, (40, 9, 7, 3), dtype=np.uint8)
LABELS = np.arange(40) % 2


def test_a_permutation_moves_pixels_whole_and_leaves_the_first_task() -> None:
    view = Permutation(3)
    np.testing.assert_array_equal(view(STACK, 0), STACK)
    order = np.random.default_rng((3, 2)).permutation(63)
    moved = view(STACK, 2)
    for place, source in enumerate(order.tolist()):
        np.testing.assert_array_equal(
            moved[:, place // 7, place % 7], STACK[:, source // 7, source % 7]
        )
    assert not np.array_equal(moved, view(STACK, 1))
    assert not np.array_equal(moved, Permutation(4)(STACK, 2))


@pytest.mark.parametrize("degrees", [0, 17, 45, 133.5, 270, -30])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_rotation_is_that_of_scipy(degrees: float, dtype: type) -> None:
    stack = STACK if dtype is np.uint8 else (STACK / 255).astype(np.float32)
    turned = Rotation((degrees,))(stack, 0)
    reference = ndimage.rotate(
        stack.astype(np.float64), degrees, axes=(1, 2), reshape=False, order=1, mode="grid-constant"
    )
    assert turned.dtype == dtype
    tolerance = 0.5 + 1e-3 if dtype is np.uint8 else 1e-5
    assert np.abs(turned - reference).max() <= tolerance


def test_a_right_angle_is_exact_and_counter_clockwise() -> None:
    square = STACK[:, :7]
    turned = Rotation((90.0, 180.0))
    np.testing.assert_array_equal(turned(square, 0), np.rot90(square, axes=(1, 2)))
    np.testing.assert_array_equal(turned(square, 1), square[:, ::-1, ::-1])


def test_every_task_has_every_image() -> None:
    made = permuted((STACK, LABELS), num_tasks=3, seed=5)
    examples = read(made)["all"]
    np.testing.assert_array_equal(examples.tasks, np.repeat([0, 1, 2], 40))
    np.testing.assert_array_equal(examples.targets, np.tile(LABELS, 3))
    view = Permutation(5)
    shown = np.concatenate([view(STACK, task) for task in range(3)])
    np.testing.assert_array_equal(examples.inputs.stack(), shown)
    np.testing.assert_array_equal(made[1][0], view(STACK, 1))
    assert made.scenario == "domain" and len(made) == 3
    assert "view=Permutation(seed=5)" in repr(made)


def test_encoded_images_are_seen_too() -> None:
    grey = [Image.fromarray(image[..., 0]) for image in STACK]
    made = read(rotated((grey, LABELS), degrees=[0, 180]))["all"]
    np.testing.assert_array_equal(made.inputs.stack()[:40, ..., 0], STACK[..., 0])
    np.testing.assert_array_equal(made.inputs.stack()[40:, ..., 0], STACK[:, ::-1, ::-1, 0])


def test_the_angles_are_drawn_from_equal_pieces_or_are_those_of_the_list() -> None:
    made = rotated((STACK, LABELS), num_tasks=4, degrees=(0, 180), seed=2)
    assert isinstance(made.view, Rotation)
    pieces = np.asarray(made.view.degrees) // 45
    assert pieces.tolist() == [0, 1, 2, 3]
    assert made.view == rotated((STACK, LABELS), num_tasks=4, seed=2).view
    assert made.view != rotated((STACK, LABELS), num_tasks=4, seed=3).view
    assert len(rotated((STACK, LABELS))) == 10
    assert rotated((STACK, LABELS), degrees=[5, -5]).view == Rotation((5.0, -5.0))


def test_in_other_scenarios_each_task_has_classes_of_its_own() -> None:
    named = (STACK, np.where(LABELS > 0, "b", "a"))
    for scenario in ("class", "task"):
        made = read(permuted(named, num_tasks=3, scenario=scenario))["all"]
        assert task_classes_of(made) == [[0, 1], [2, 3], [4, 5]]
        assert made.class_names is not None and made.class_names[3] == "b (task 1)"


def test_no_image_is_trained_on_in_one_task_and_tested_on_in_another() -> None:
    splits = split(read(permuted((STACK, LABELS), num_tasks=4)), validation=0.2, test=0.2)
    of = {
        part: set(rows.groups.tolist())
        for part, rows in (("train", splits.train), ("validation", splits.validation))
    }
    assert splits.test is not None and splits.test.groups is not None
    sealed = set(splits.test.groups.tolist())
    assert not (of["train"] & of["validation"] | of["train"] & sealed | of["validation"] & sealed)
    assert len(of["train"] | of["validation"] | sealed) == 40
    assert np.bincount(splits.validation.tasks).tolist() == [len(of["validation"])] * 4
    own = {"train": (STACK, LABELS), "test": (STACK[:10] // 2, LABELS[:10])}
    parts = read(permuted(own, num_tasks=2))
    assert not set(parts["train"].groups.tolist()) & set(parts["test"].groups.tolist())


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (permuted, {"seed": -1}, "seed=-1; it takes"),
        (permuted, {"scenario": "domian"}, "Did you mean 'domain'"),
        (permuted, {"num_tasks": 0}, "num_tasks=0"),
        (rotated, {"degrees": (0, 90, 180)}, "a tuple .lowest, highest., or a list"),
        (rotated, {"degrees": 90}, "degrees=90"),
        (rotated, {"degrees": [float("nan")]}, "one angle for each task"),
        (rotated, {"degrees": (90, 0)}, "the lowest comes first"),
        (rotated, {"degrees": [0, 90], "num_tasks": 3}, "lists 2 angles, and num_tasks=3"),
        (rotated, {"num_tasks": 2.5}, "num_tasks=2.5"),
    ],
)
def test_what_cannot_be_shown_is_refused(make: Any, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make((STACK, LABELS), **arguments)


def test_data_without_views_is_refused() -> None:
    with pytest.raises(InputError, match="these are several"):
        permuted([(STACK, LABELS), (STACK, LABELS)], num_tasks=2)
    with pytest.raises(InputError, match="a stream already"):
        rotated(permuted((STACK, LABELS)))
    sizes = [Image.fromarray(image[: 5 + i % 2]) for i, image in enumerate(STACK)]
    with pytest.raises(InputError, match="2 sizes, such as 5 x 7 and 6 x 7"):
        read(permuted((sizes, LABELS)))
    with pytest.raises(InputError, match="of kind 'text'"):
        read(permuted((["one text", "another text"] * 9, np.arange(18) // 9)))
