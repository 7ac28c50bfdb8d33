"""A memory of exemplars: equal shares for groups of rows, each in the order of their importance.

Paper: Rebuffi et al. 2017, arXiv:1611.07725, algorithms 2 and 5.
Differs from the paper: a group is a class of one task, so that a class that comes again in another
domain has exemplars of both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mlexpert.blocks.replay.herding import herding
from mlexpert.blocks.replay.stored_rows import Drawn, StoredRows
from mlexpert.errors import InputError


class Exemplars(nn.Module):
    """Rows chosen at the ends of tasks; each group loses its last ones as others come.

    Args:
        capacity: Rows that are kept, at most; K in the paper.

    Attributes:
        rows: The slots; see `StoredRows`.

    Raises:
        InputError: If there is no room for a row.

    Example:
        >>> memory = Exemplars(4)
        >>> for task in range(2):
        ...     features, targets = torch.rand(9, 2), torch.full((9,), task)
        ...     memory.write(memory.choose(features, targets, task), features, targets, task)
        >>> memory.counts
        {(0, 0): 2, (1, 1): 2}
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.rows = StoredRows(capacity)
        self._slots: dict[tuple[int, int], list[int]] = {}

    def __len__(self) -> int:
        """Return the number of rows that are kept."""
        return sum(map(len, self._slots.values()))

    @property
    def counts(self) -> dict[tuple[int, int], int]:
        """Rows that are kept of each class and task, in the order in which they came."""
        return {group: len(slots) for group, slots in self._slots.items()}

    @property
    def nbytes(self) -> int:
        """Bytes that the memory takes."""
        return self.rows.nbytes

    def share_with(self, num_new: int) -> int:
        """Return how many rows a group may have once there are so many new ones.

        Raises:
            InputError: If that is none.
        """
        groups = len(self._slots) + num_new
        share = self.rows.capacity // max(1, groups)
        if not share:
            raise InputError(
                f"A memory of {self.rows.capacity} rows has none for each of {groups} classes; "
                f"give it at least {groups}."
            )
        return share

    def reserve(self, new: dict[tuple[int, int], int]) -> dict[tuple[int, int], list[int]]:
        """Shrink all groups to their share, and return the slots of new ones.

        Args:
            new: The number of rows that each new group, a class and a task, has to offer.

        Returns:
            Slots of each new group, of its most important row first.

        Raises:
            InputError: If a group's share is no row.
        """
        share = self.share_with(len(new))
        self._slots = {group: slots[:share] for group, slots in self._slots.items()}
        taken = {slot for slots in self._slots.values() for slot in slots}
        free = iter([slot for slot in range(self.rows.capacity) if slot not in taken])
        made = {
            group: [next(free) for _ in range(min(share, count))] for group, count in new.items()
        }
        self._slots |= made
        return made

    def choose(self, features: Tensor, targets: Tensor, task: int) -> Tensor:
        """Shrink all groups, and choose the exemplars of a task by herding (algorithm 4).

        Args:
            features: (N, F) of all rows of the task, each of norm 1.
            targets: (N,) class indices.
            task: Its number.

        Returns:
            (N,) the slot of each row that is to be written, -1 of the others.

        Raises:
            InputError: If a group's share is no row.
        """
        rows_of = {
            (int(label), task): torch.nonzero(targets == label).flatten()
            for label in targets.unique()
        }
        slot_of = torch.full_like(targets, -1)
        offered = {group: len(rows) for group, rows in rows_of.items()}
        for group, slots in self.reserve(offered).items():
            rows = rows_of[group]
            chosen = rows[herding(features[rows], len(slots))]
            slot_of[chosen] = torch.tensor(slots).to(slot_of)
        return slot_of

    def write(
        self,
        slots: Tensor,
        inputs: Tensor,
        targets: Tensor,
        task: int,
        weights: Tensor | None = None,
    ) -> None:
        """Put rows into slots that were reserved.

        Args:
            slots: (B,) slot of each row, -1 where it is not kept.
            inputs: (B, ...) as the model takes them, not augmented.
            targets: (B,) class indices.
            task: In which they came.
            weights: (B,) how much each row counts. All rows have them, or none.
        """
        kept = slots >= 0
        if not kept.any():
            return
        columns = {
            "inputs": inputs, "targets": targets, "tasks": torch.full_like(targets, task),
            "weights": weights,
        }  # fmt: skip
        chosen = {name: None if rows is None else rows[kept] for name, rows in columns.items()}
        self.rows.write(slots[kept].cpu(), chosen)

    def draw(self, size: int) -> Drawn:
        """Return rows at random, no row twice; all that there are where they are fewer.

        Random numbers come from torch's default generator on the CPU.

        Raises:
            InputError: If there are none.
        """
        slots = self._all()
        return self.rows.read(slots[torch.randperm(len(slots))[:size]])

    def pieces(self, size: int) -> Iterator[Drawn]:
        """Yield all rows once, at most `size` together."""
        for slots in self._all().split(size):
            yield self.rows.read(slots)

    def _all(self) -> Tensor:
        if not self._slots:
            raise InputError("there are no exemplars yet; a task's end chooses them")
        return torch.tensor([slot for slots in self._slots.values() for slot in slots])

    def get_extra_state(self) -> dict[str, Any]:
        """Return which slots are whose, as JSON can hold it."""
        return {"slots": [[*group, slots] for group, slots in self._slots.items()]}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Put it back."""
        self._slots = {(label, task): list(slots) for label, task, slots in state["slots"]}
