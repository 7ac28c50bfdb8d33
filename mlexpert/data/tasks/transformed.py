"""Streams in which every task has all images, permuted or rotated in a way of its own.

Papers: Goodfellow et al. 2013, arXiv:1312.6211 (permuted MNIST); Lopez-Paz and Ranzato 2017,
arXiv:1706.08840, section 5 (rotated MNIST).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from mlexpert.data.tasks.streams import Scenario, Stream, View, check_stream, stream
from mlexpert.errors import InputError

NUM_TASKS = 10
_AT_ONCE = 4_096  # images that are rotated together


def permuted(
    ds: Any,
    *,
    num_tasks: int = NUM_TASKS,
    seed: int = 0,
    scenario: Scenario = "domain",
    boundaries: bool = True,
    blur: float = 0.0,
    target: str | None = None,
    inputs: str | None = None,
) -> Stream:
    """Make a stream in which each task has all images, their pixels in an order of its own.

    The first task leaves them as they are, as is the custom. All channels of a pixel move together.

    Args:
        ds: Images of one size, in any form that `fit` takes; a split that it brings is kept.
        num_tasks: Number of tasks, which is how many times as many images there are.
        seed: Of the permutations; that of a task does not depend on how many tasks there are.
        scenario: "domain" has the same labels in all tasks; in "class" and "task" each task has
            classes of its own, t K + k.
        boundaries: As of `stream`.
        blur: As of `stream`.
        target: As of `stream`.
        inputs: As of `stream`.

    Raises:
        InputError: An argument is refused. Data is refused when it is read.
    """
    _check(seed)
    return _viewed(ds, Permutation(seed), num_tasks, scenario, boundaries, blur, target, inputs)


def rotated(
    ds: Any,
    *,
    num_tasks: int | None = None,
    degrees: tuple[float, float] | list[float] = (0, 180),
    seed: int = 0,
    scenario: Scenario = "domain",
    boundaries: bool = True,
    blur: float = 0.0,
    target: str | None = None,
    inputs: str | None = None,
) -> Stream:
    """Make a stream in which each task has all images, rotated by an angle of its own.

    Images turn counter-clockwise around their centre, bilinear; corners that come in are black.

    Args:
        ds: Images of one size, in any form that `fit` takes; a split that it brings is kept.
        num_tasks: Number of tasks, which is how many times as many images there are. None: 10, or
            as many as a list has angles.
        degrees: A tuple is a range, cut into as many equal pieces as there are tasks, and the angle
            of a task is drawn from its piece, as in the paper. A list is the angles themselves.
        seed: Of the angles.
        scenario: As of `permuted`.
        boundaries: As of `stream`.
        blur: As of `stream`.
        target: As of `stream`.
        inputs: As of `stream`.

    Raises:
        InputError: An argument is refused. Data is refused when it is read.
    """
    check_stream(scenario, num_tasks, boundaries, blur)
    _check(seed)
    angles = _angles(degrees, num_tasks, seed)
    return _viewed(ds, Rotation(angles), len(angles), scenario, boundaries, blur, target, inputs)


@dataclass(frozen=True)
class Permutation:
    """Pixels in another order in each task but the first."""

    seed: int

    def __call__(self, stack: np.ndarray, task: int) -> np.ndarray:
        """Return images (N, H, W, C) with their pixels in the order of a task."""
        if task == 0:
            return stack
        count, height, width, channels = stack.shape
        order = np.random.default_rng((self.seed, task)).permutation(height * width)
        return stack.reshape(count, -1, channels)[:, order].reshape(stack.shape)


@dataclass(frozen=True)
class Rotation:
    """Images turned by an angle, in degrees, of each task."""

    degrees: tuple[float, ...]

    def __call__(self, stack: np.ndarray, task: int) -> np.ndarray:
        """Return images (N, H, W, C) turned counter-clockwise by the angle of a task."""
        height, width = stack.shape[1:3]
        matrix = rotation_matrix(height, width, self.degrees[task])
        turned = np.empty_like(stack)
        for start in range(0, len(stack), _AT_ONCE):
            some = stack[start : start + _AT_ONCE]
            pixels = np.moveaxis(some.reshape(len(some), height * width, -1), 0, 1)  # (P, N, C)
            made = matrix @ pixels.reshape(height * width, -1).astype(np.float32)
            made = np.moveaxis(made.reshape(pixels.shape), 0, 1).reshape(some.shape)
            high = 255 if stack.dtype == np.uint8 else 1
            made = np.rint(made) if stack.dtype == np.uint8 else made
            turned[start : start + _AT_ONCE] = made.clip(0, high)
        return turned


def rotation_matrix(height: int, width: int, degrees: float) -> sparse.csr_matrix:
    """Return the matrix (H W, H W) by which pixels of an image are those of the turned image.

    Bilinear: each row has the weights of at most four pixels. Outside of the image is 0.

    Args:
        height: H.
        width: W.
        degrees: Angle, counter-clockwise.
    """
    angle = math.radians(degrees)
    sine, cosine = math.sin(angle), math.cos(angle)
    rows, columns = np.divmod(np.arange(height * width), width)
    down, right = rows - (height - 1) / 2, columns - (width - 1) / 2
    # Where each pixel of the turned image was before; rounded, so that right angles stay exact.
    source_row = np.round(sine * right + cosine * down + (height - 1) / 2, 9)
    source_column = np.round(cosine * right - sine * down + (width - 1) / 2, 9)
    top, left = np.floor(source_row).astype(int), np.floor(source_column).astype(int)
    below, beside = source_row - top, source_column - left
    shape = (height * width, height * width)
    total = sparse.csr_matrix(shape, dtype=np.float32)
    for row, row_weight in ((top, 1 - below), (top + 1, below)):
        for column, weight in ((left, 1 - beside), (left + 1, beside)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            place = (row * width + column)[inside]
            values = (row_weight * weight)[inside].astype(np.float32)
            total += sparse.csr_matrix((values, (np.flatnonzero(inside), place)), shape=shape)
    return total


def _angles(degrees: Sequence[float], num_tasks: int | None, seed: int) -> tuple[float, ...]:
    """Return the angle of each task."""
    numbers = isinstance(degrees, list | tuple) and all(
        isinstance(one, int | float) and math.isfinite(one) for one in degrees
    )
    if not numbers or not degrees or (isinstance(degrees, tuple) and len(degrees) != 2):
        raise InputError(
            f"degrees={degrees!r}; it takes a tuple (lowest, highest), or a list of one angle for "
            "each task"
        )
    if isinstance(degrees, list):
        if num_tasks is not None and num_tasks != len(degrees):
            raise InputError(
                f"degrees= lists {len(degrees)} angles, and num_tasks={num_tasks}: give one for "
                "each task, or leave num_tasks= out"
            )
        return tuple(map(float, degrees))
    low, high = degrees
    if low > high:
        raise InputError(f"degrees={degrees!r}; the lowest comes first. Two angles are a list")
    count = num_tasks or NUM_TASKS
    drawn = np.arange(count) + np.random.default_rng(seed).random(count)
    return tuple((low + (high - low) * drawn / count).tolist())


def _check(seed: int) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed={seed!r}; it takes a whole number from 0")


def _viewed(
    ds: Any,
    view: View,
    num_tasks: int,
    scenario: Scenario,
    boundaries: bool,
    blur: float,
    target: str | None,
    inputs: str | None,
) -> Stream:
    made = stream(
        ds,
        scenario=scenario,
        num_tasks=num_tasks,
        boundaries=boundaries,
        blur=blur,
        target=target,
        inputs=inputs,
    )
    if made.sets is not None:
        raise InputError("every task shows the images of one data set, and these are several")
    return replace(made, view=view)
