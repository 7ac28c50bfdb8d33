"""The same images in every task of a stream, shown by each in a way of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlexpert.data.examples import Examples
from mlexpert.data.images import Images
from mlexpert.data.pixels import to_channels
from mlexpert.data.tasks.streams import Scenario, View
from mlexpert.errors import InputError


def show_views(
    parts: dict[str, Examples], view: View, num_tasks: int, scenario: Scenario
) -> dict[str, Examples]:
    """Return T times as many rows: every image in every task.

    What is seen of one image in different tasks is of one group, where the user named no groups, so
    that no image is trained on in one task and tested on in another.

    Args:
        parts: Rows of images of one size, by part.
        view: How a task shows them.
        num_tasks: Number of tasks, T.
        scenario: In "domain" labels stay; otherwise class k of the K becomes t K + k in task t.

    Raises:
        InputError: The inputs are not images, or differ in size.
    """
    classes = np.unique(np.concatenate([np.asarray(rows.targets) for rows in parts.values()]))
    made, start = {}, 0
    for part, rows in parts.items():
        if rows.kind != "image":
            raise InputError(f"a view is one of images, and the inputs are of kind {rows.kind!r}")
        stack = _stack_of(rows.inputs)
        seen = np.empty((num_tasks, *stack.shape), dtype=stack.dtype)
        for task in range(num_tasks):
            seen[task] = view(stack, task)
        groups = np.arange(start, start + len(rows)) if rows.groups is None else rows.groups
        start += len(rows)
        copies = np.tile(np.arange(len(rows)), num_tasks)
        tasks = np.repeat(np.arange(num_tasks), len(rows))
        shown = replace(
            replace(rows, groups=groups).select(copies),
            inputs=Images.from_array(seen.reshape(-1, *stack.shape[1:])),
            tasks=tasks,
            notes=(*rows.notes, "what the tasks show of one image is of one group"),
        )
        made[part] = shown if scenario == "domain" else _with_own_classes(shown, classes, num_tasks)
    return made


def _stack_of(images: Images) -> np.ndarray:
    """Return the pixels (N, H, W, C) of images of one size."""
    stack = images.stack()
    if stack is not None:
        return stack
    decoded = [images.decode(i) for i in range(len(images))]
    sizes = {image.shape[:2] for image in decoded}
    if len(sizes) > 1:
        shown = " and ".join(f"{height} x {width}" for height, width in sorted(sizes)[:2])
        raise InputError(
            f"the images are of {len(sizes)} sizes, such as {shown}: resize them to one first"
        )
    channels = max(image.shape[2] for image in decoded)
    return np.stack([to_channels(image, channels) for image in decoded])


def _with_own_classes(rows: Examples, classes: np.ndarray, num_tasks: int) -> Examples:
    """Give every task classes of its own, as the scenarios "class" and "task" ask for."""
    known, count = rows.class_names or {}, len(classes)
    shown = [str(known.get(label, label)) for label in classes.tolist()]
    codes = np.searchsorted(classes, np.asarray(rows.targets))
    names = {
        task * count + k: f"{name} (task {task})"
        for task in range(num_tasks)
        for k, name in enumerate(shown)
    }
    return replace(rows, targets=np.asarray(rows.tasks) * count + codes, class_names=names)
