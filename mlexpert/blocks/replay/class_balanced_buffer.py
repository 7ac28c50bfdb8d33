"""A memory with an equal share for every class met so far, which takes rows greedily.

A row comes in while its class has less than its share; where the memory is full, a row of the
largest class makes room, chosen at random.

Paper: Prabhu et al. 2020, ECCV, "GDumb: A simple approach that questions our progress in continual
learning", algorithm 1.
Differs from the paper: nothing; of several largest classes, the one met first makes room.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mlexpert.blocks.replay.stored_rows import Drawn, StoredRows
from mlexpert.errors import InputError


class ClassBalancedBuffer(nn.Module):
    """A memory in which every class has as many rows as another, as far as it has brought them.

    Random numbers come from torch's default generator on the CPU, wherever the rows are. A row
    costs the same however many are kept; one that another has to make room for costs a look at the
    number of rows of each class.

    Args:
        capacity: Rows that are kept.
        by_task: Whether a class of one task has a share of its own, where tasks have the same
            classes.

    Attributes:
        rows: The slots; see `StoredRows`.

    Raises:
        InputError: If there is no room for a row.

    Example:
        >>> memory = ClassBalancedBuffer(4)
        >>> targets = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
        >>> memory.insert(torch.rand(8, 2), targets, torch.zeros_like(targets))
        >>> memory.counts
        {0: 2, 1: 2}
    """

    def __init__(self, capacity: int, *, by_task: bool = False) -> None:
        super().__init__()
        self.rows, self.by_task = StoredRows(capacity), by_task
        self._slots: dict[Hashable, list[int]] = {}

    def __len__(self) -> int:
        """Return the number of rows that are kept."""
        return sum(map(len, self._slots.values()))

    @property
    def counts(self) -> dict[Hashable, int]:
        """Rows that are kept of each class, or class and task, in the order of their coming."""
        return {group: len(slots) for group, slots in self._slots.items()}

    @property
    def nbytes(self) -> int:
        """Bytes that the memory takes."""
        return self.rows.nbytes

    def insert(
        self,
        inputs: Tensor,
        targets: Tensor,
        tasks: Tensor,
        logits: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> None:
        """Offer rows to the memory, in the order in which they came; see `Reservoir.insert`.

        Raises:
            InputError: If more classes come than the memory has room for rows.
        """
        labels = targets.tolist()
        kept = self._choose([*zip(labels, tasks.tolist(), strict=True)] if self.by_task else labels)
        if not kept:
            return
        taken = torch.tensor(list(kept.values())).to(targets.device)
        columns = {
            "inputs": inputs, "targets": targets, "tasks": tasks, "logits": logits,
            "weights": weights,
        }  # fmt: skip
        chosen = {name: None if rows is None else rows[taken] for name, rows in columns.items()}
        self.rows.write(torch.tensor(list(kept)), chosen)

    def draw(self, size: int) -> Drawn:
        """Return rows at random, no row twice; all that there are where they are fewer.

        Raises:
            InputError: If nothing was inserted.
        """
        if not self._slots:
            raise InputError("the memory is empty; insert rows before drawing from it")
        return self.rows.read(torch.randperm(len(self))[:size])

    def clear(self) -> None:
        """Forget all rows."""
        self._slots = {}

    def _choose(self, groups: Sequence[Hashable]) -> dict[int, int]:
        """Return which row of a batch goes to each slot that changes, and remember whose it is."""
        met = len(self._slots.keys() | set(groups))
        if met > self.rows.capacity:
            raise InputError(
                f"The memory has room for {self.rows.capacity} rows and {met} classes have come; "
                "make it as large as their number."
            )
        kept: dict[int, int] = {}
        stored, chances = len(self), torch.rand(len(groups), dtype=torch.float64).tolist()
        for row, (group, chance) in enumerate(zip(groups, chances, strict=True)):
            own = self._slots.setdefault(group, [])
            if len(own) * len(self._slots) >= self.rows.capacity:  # it has its share
                continue
            if stored < self.rows.capacity:
                slot, stored = stored, stored + 1
            else:
                largest = max(self._slots.values(), key=len)
                place = int(chance * len(largest))
                slot, largest[place] = largest[place], largest[-1]
                largest.pop()
            own.append(slot)
            kept[slot] = row
        return kept

    def get_extra_state(self) -> dict[str, Any]:
        """Return the slots of each class, in their order, which chance refers to."""
        return {"slots": [[group, list(slots)] for group, slots in self._slots.items()]}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Put it back."""
        self._slots = {
            tuple(group) if self.by_task else group: list(slots) for group, slots in state["slots"]
        }
