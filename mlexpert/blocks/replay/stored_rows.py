"""Where a memory keeps its rows: tensors of a fixed number of slots, as small as they are exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.task_classes import MASKED
from mlexpert.errors import InputError

COLUMNS = ("inputs", "targets", "tasks", "logits", "weights")


@dataclass(frozen=True)
class Drawn:
    """Rows out of a memory, as they came.

    Attributes:
        inputs: (S, ...) images as floats in [0, 1], token ids (S, T) as long as the longest of
            these rows, or columns (S, D).
        targets: (S,) class indices.
        tasks: (S,) the task in which each row came.
        slots: (S,) where each lies in the memory.
        weights: (S,) how much each row counts, or None where all count alike.
    """

    inputs: Tensor
    targets: Tensor
    tasks: Tensor
    slots: Tensor
    weights: Tensor | None = None

    def __len__(self) -> int:
        return self.targets.shape[0]


class StoredRows(nn.Module):
    """Slots for rows, made when the first rows come and of their shape.

    Images whose pixels are all k / 255 are kept as bytes, and come back to the last bit. Token ids
    are kept as int32, as wide as the longest row so far. Slots that were never written hold
    anything. What is kept are buffers, which `load_state_dict` makes as large as the saved ones.

    Args:
        capacity: Slots.

    Attributes:
        inputs: (capacity, ...), or None before the first row; so are the others.
        targets: (capacity,) class indices.
        tasks: (capacity,) tasks.
        logits: (capacity, K) or (capacity, M, K) what a model said of the rows, if that is given.
        weights: (capacity,) how much each row counts, if that is given.

    Raises:
        InputError: If there is no slot.
    """

    inputs: Tensor | None
    targets: Tensor | None
    tasks: Tensor | None
    logits: Tensor | None
    weights: Tensor | None

    def __init__(self, capacity: int) -> None:
        super().__init__()
        if capacity < 1:
            raise InputError(f"capacity={capacity!r}; a memory needs room for at least 1 row.")
        self.capacity = capacity
        for name in COLUMNS:
            self.register_buffer(name, None)

    @property
    def nbytes(self) -> int:
        """Bytes that the slots take, filled or not."""
        return sum(buffer.nbytes for buffer in self.buffers())

    @torch.no_grad()
    def write(self, slots: Tensor, rows: Mapping[str, Tensor | None]) -> None:
        """Put rows into slots.

        Args:
            slots: (S,) different ones, on the CPU.
            rows: Columns (S, ...) by name; a column that is None is not kept.

        Raises:
            InputError: If a column is given for some rows and not for others.
        """
        given = {name: column.detach() for name, column in rows.items() if column is not None}
        held = {name for name in COLUMNS if getattr(self, name) is not None}
        if held and held != given.keys():
            raise InputError(
                f"These rows come with {', '.join(sorted(given))}, and the memory keeps "
                f"{', '.join(sorted(held))}; give all rows the same columns."
            )
        given["inputs"] = self._packed(given["inputs"])
        slots = slots.to(given["inputs"].device)
        for name, column in given.items():
            room = self._room(name, column)
            room[slots] = _wide(column, room, name)

    def read(self, slots: Tensor) -> Drawn:
        """Return the rows at slots (S,), on the device where they are kept."""
        assert self.inputs is not None and self.targets is not None and self.tasks is not None
        slots = slots.to(self.targets.device)
        weights = None if self.weights is None else self.weights[slots]
        inputs = _unpacked(self.inputs[slots])
        return Drawn(inputs, self.targets[slots], self.tasks[slots], slots, weights)

    def _packed(self, inputs: Tensor) -> Tensor:
        """Return rows as they are kept: pixels as bytes while all of them fit into bytes."""
        if not inputs.is_floating_point():
            return inputs.int()
        in_bytes = self.inputs is None or self.inputs.dtype == torch.uint8
        if in_bytes and inputs.ndim == 4 and inputs.dtype == torch.float32:
            levels = (inputs * 255).round().clamp(0, 255).to(torch.uint8)
            if torch.equal(_unpacked(levels), inputs):
                return levels
        if self.inputs is not None and self.inputs.dtype == torch.uint8:
            self.inputs = _unpacked(self.inputs)
        return inputs

    def _room(self, name: str, column: Tensor) -> Tensor:
        """Return the slots of a column, made or widened so that these rows fit in."""
        held = getattr(self, name)
        if held is None:
            held = column.new_zeros(self.capacity, *column.shape[1:])
        elif column.ndim > 1 and column.shape[-1] > held.shape[-1] and _may_widen(name, held):
            held = _wide(held, column, name)
        setattr(self, name, held)
        return held

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *others: Any
    ) -> None:
        """Make the columns as large as the saved ones, which torch then copies."""
        for name in COLUMNS:
            held, saved = getattr(self, name), state_dict.get(prefix + name)
            if saved is None:
                setattr(self, name, None)
                continue
            if len(saved) != self.capacity:
                raise InputError(
                    f"The saved memory has {len(saved)} slots and this one {self.capacity}; make "
                    "it with the capacity of the saved one."
                )
            if held is None or held.shape != saved.shape or held.dtype != saved.dtype:
                device = saved.device if held is None else held.device
                setattr(self, name, torch.empty_like(saved, device=device))
        super()._load_from_state_dict(state_dict, prefix, *others)


def _unpacked(kept: Tensor) -> Tensor:
    """Return rows as a model takes them; bytes by the very operation that made pixels of them."""
    if kept.dtype == torch.uint8:
        return kept.float().div_(255)
    if kept.dtype == torch.int32:
        if kept.ndim == 2:
            kept = kept[:, : int((kept != 0).any(dim=0).sum().clamp_min(1))]
        return kept.long()
    return kept


def _may_widen(name: str, held: Tensor) -> bool:
    """Texts get longer, and a model gets more classes; the rest is of one shape."""
    return name == "logits" or (name == "inputs" and held.dtype == torch.int32)


def _wide(column: Tensor, other: Tensor, name: str) -> Tensor:
    """Return a column padded to the last axis of another: tokens with 0, logits with `MASKED`."""
    if column.ndim == 1 or column.shape[-1] >= other.shape[-1] or not _may_widen(name, column):
        return column
    padded = column.new_full((*column.shape[:-1], other.shape[-1]), MASKED * (name == "logits"))
    padded[..., : column.shape[-1]] = column
    return padded
