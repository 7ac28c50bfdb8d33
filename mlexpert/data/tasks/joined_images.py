"""Images of several data sets as those of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlexpert.data.images import Images


def join_images(sets: Sequence[Images]) -> Images:
    """Return the images of several sets, one set after another.

    Stacks of one shape and type become one stack. Others stay as they are, each read from its own
    source when it is needed.
    """
    stacks = [images.stack() for images in sets]
    forms = {None if stack is None else (stack.shape[1:], stack.dtype) for stack in stacks}
    if len(forms) == 1 and None not in forms:
        return Images.from_array(np.concatenate([stack for stack in stacks if stack is not None]))
    return Images.from_items(_Joined(sets))


class _Joined(Sequence[Any]):
    """The items of several sets, read row by row."""

    def __init__(self, sets: Sequence[Images]) -> None:
        self._sets = sets
        self._ends = np.cumsum([len(images) for images in sets])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, row: Any) -> Any:
        number = int(np.searchsorted(self._ends, row, side="right"))
        images = self._sets[number]
        return images.item(int(row) - int(self._ends[number]) + len(images))
