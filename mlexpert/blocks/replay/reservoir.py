"""A reservoir: every row of a stream is as likely to be kept as any other, however many come.

Paper: Vitter 1985, doi:10.1145/3147.3165, algorithm R.
Differs from the paper: the rows of a batch are taken at once. Where two of them fall on one slot
the later one gets it, as one after the other they would have.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mlexpert.blocks.replay.stored_rows import Drawn, StoredRows
from mlexpert.errors import InputError


class Reservoir(nn.Module):
    """A uniform sample, without repetition, of all the rows that were inserted.

    Random numbers come from torch's default generator on the CPU, wherever the rows are. The work
    of an insert grows with the batch alone.

    Args:
        capacity: Rows that are kept.

    Attributes:
        rows: The slots; see `StoredRows`.
        num_seen: Rows that were inserted, kept or not.

    Raises:
        InputError: If there is no room for a row.

    Example:
        >>> memory = Reservoir(100)
        >>> images, targets = torch.rand(128, 1, 8, 8), torch.zeros(128, dtype=torch.int64)
        >>> memory.insert(images, targets, torch.zeros_like(targets))
        >>> len(memory), memory.num_seen, len(memory.draw(32))
        (100, 128, 32)
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.rows = StoredRows(capacity)
        self.num_seen = 0

    def __len__(self) -> int:
        """Return the number of rows that are kept."""
        return min(self.num_seen, self.rows.capacity)

    @property
    def nbytes(self) -> int:
        """Bytes that the memory takes."""
        return self.rows.nbytes

    @property
    def logits(self) -> Tensor:
        """What was inserted as logits, by slot: (capacity, K) or (capacity, M, K).

        Raises:
            InputError: If nothing was.
        """
        if self.rows.logits is None:
            raise InputError("no logits were inserted with the rows")
        return self.rows.logits

    def insert(
        self,
        inputs: Tensor,
        targets: Tensor,
        tasks: Tensor,
        logits: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> None:
        """Offer rows to the memory, in the order in which they came.

        Args:
            inputs: (B, ...) as the model takes them, not augmented.
            targets: (B,) class indices.
            tasks: (B,) the task in which each row comes.
            logits: (B, K) or (B, M, K), looked up by slot later. All rows have them, or none.
            weights: (B,) how much each row counts. All rows have them, or none.
        """
        slot_of, self.num_seen = self._slots(len(targets)), self.num_seen + len(targets)
        kept = {slot: row for row, slot in enumerate(slot_of) if slot < self.rows.capacity}
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

        Each draw is independent of those before.

        Args:
            size: Rows, at most.

        Raises:
            InputError: If nothing was inserted.
        """
        if not self.num_seen:
            raise InputError("the memory is empty; insert rows before drawing from it")
        return self.rows.read(torch.randperm(len(self))[:size])

    def _slots(self, count: int) -> list[int]:
        """Return for each row, the n-th of the stream from 0, n or a number from 0 to n."""
        place = torch.arange(self.num_seen, self.num_seen + count)
        # In double precision: 24 bits would not reach all of a stream of millions.
        chosen = (torch.rand(count, dtype=torch.float64) * (place + 1)).long()
        return place.where(place < self.rows.capacity, chosen).tolist()

    def get_extra_state(self) -> dict[str, Any]:
        """Return what is no tensor: read from a GPU, a count would have to be waited for."""
        return {"num_seen": self.num_seen}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Put it back."""
        self.num_seen = state["num_seen"]
