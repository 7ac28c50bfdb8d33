"""What methods do that replay: rows that come are trained on together with rows of a memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.layers.task_classes import MASKED, TaskClasses
from mlexpert.blocks.replay.class_balanced_buffer import ClassBalancedBuffer
from mlexpert.blocks.replay.reservoir import Reservoir
from mlexpert.blocks.replay.stored_rows import Drawn
from mlexpert.training.method import Batch, Loss
from mlexpert.training.methods.continual import ContinualMethod
from mlexpert.training.processes import add_up, shape_somewhere

TINY = 1e-30
"""Of a sum of weights."""


@dataclass(frozen=True)
class Replaying:
    """How rows are masked, changed and drawn.

    Attributes:
        by_task: Whether the task of a row is told.
        augment: Changes a batch's inputs. None leaves them as they are.
        size: Rows of a draw. None: as many as come.
    """

    by_task: bool = False
    augment: Callable[[Batch], Batch] | None = None
    size: int | None = None


class Replay(ContinualMethod):
    """Draws rows of a memory with every batch, and offers the batch to the memory afterwards.

    The memory has the rows as they came; those that are drawn are augmented again, together with
    those that come. A row of the k-th draw, from 0, has -1 - k capacity - slot for its index.

    Args:
        classes: Which were met; shared with the rule that decides.
        memory: Where rows are kept.
        how: How rows are masked, changed and drawn.
    """

    num_draws: ClassVar[int] = 1
    """Independent draws of a step."""

    def __init__(
        self,
        classes: TaskClasses,
        memory: Reservoir | ClassBalancedBuffer,
        how: Replaying,
    ) -> None:
        super().__init__(classes, by_task=how.by_task, augment=how.augment)
        self.memory, self.size = memory, how.size
        self.totals: Tensor | list[int] = []
        """Rows that came in this step and those of each draw, or the sums of their weights."""
        self.num_rows = 0
        """Rows of this step, those that came and those that were drawn."""
        self._outputs: Tensor | None = None
        """(B + 1, ...) what was said of the rows that came; the last line is no row's."""

    def wants_replay(self) -> bool:
        """Return whether to draw in this step; there is nothing to draw in the first one."""
        return len(self.memory) > 0

    def draw(self, model: nn.Module, batch: Batch) -> Batch:
        """Return the rows that come and those that are drawn, augmented."""
        self.classes.see(batch.targets, self.number)
        self.incoming, self._outputs = batch, None
        draws: list[Drawn] = []
        if self.wants_replay():
            size = len(batch) if self.size is None else self.size
            draws = [self.memory.draw(size) for _ in range(self.num_draws)]
        batch = with_replayed(batch, *draws, capacity=self.memory.rows.capacity)
        parts = [len(self.incoming), *map(len, draws)]
        self.totals, self.num_rows = parts, sum(parts)
        if batch.weights is not None:
            self.totals = torch.stack([own.sum() for own in batch.weights.split(parts)])
        return self.augmented(batch)

    @property
    def has_replayed(self) -> bool:
        """Whether rows were drawn in this step."""
        return len(self.totals) > 1

    def part_of(self, batch: Batch) -> Tensor:
        """Return for each row (B,) 0 where it comes, and k + 1 where it is of the k-th draw."""
        number = (-1 - batch.index).div(self.memory.rows.capacity, rounding_mode="floor")
        return (number + 1).clamp_min(0)

    def slot_of(self, batch: Batch) -> Tensor:
        """Return where each row (B,) that was drawn lies in the memory; of others, any slot."""
        return (-1 - batch.index) % self.memory.rows.capacity

    def among_incoming(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return logits in which rows that come can be meant for the classes of this step alone.

        Asymmetric cross-entropy: classes that no row came of are at `MASKED` for rows that come,
        and untouched for those that are drawn (Caccia et al. 2022, arXiv:2104.05025, equation 4).
        Where one class alone comes there is nothing to tell apart, and it is learned among all.

        Args:
            logits: (B, K) or (B, M, K) of the micro-batch.
            batch: The micro-batch.
        """
        assert self.incoming is not None, "a loss follows a draw"
        absent = torch.ones(logits.shape[-1], dtype=torch.bool, device=logits.device)
        absent[self.incoming.targets] = False
        absent &= absent.sum() < len(absent) - 1
        left_out = absent & (batch.index >= 0)[:, None]  # (B, K)
        return logits.masked_fill(left_out[:, None] if logits.ndim == 3 else left_out, MASKED)

    def means(self, losses: Tensor, batch: Batch, factors: Sequence[float]) -> Loss:
        """Return the sum of factor times mean loss, of the rows that come and of each draw.

        As a loss of a micro-batch: the sums over all of them, divided by the sum of the counts, are
        the factors times the means over the global batch.

        Args:
            losses: (B,) of the micro-batch.
            batch: The micro-batch.
            factors: Of the rows that come, then of each draw; unused where nothing was drawn.
        """
        part, scale = self.part_of(batch), torch.zeros_like(losses)
        for number, (factor, total) in enumerate(zip(factors, self.totals, strict=False)):
            # Rows that all weigh 0 are no reason to divide by it.
            safe = total.clamp_min(TINY) if isinstance(total, Tensor) else total
            scale = torch.where(part == number, factor * self.totals[0] / safe, scale)
        weights = 1.0 if batch.weights is None else batch.weights
        return Loss((losses * weights * scale).sum(), (weights * (part == 0)).sum())

    def note(self, outputs: Tensor, batch: Batch) -> None:
        """Take note of what the model says of those rows of a micro-batch that came."""
        assert self.incoming is not None, "a loss follows a draw"
        outputs = outputs.detach().float()
        if self._outputs is None:
            self._outputs = outputs.new_zeros(len(self.incoming) + 1, *outputs.shape[1:])
        places, order = self.incoming.index.sort()
        found = torch.searchsorted(places, batch.index).clamp_max(len(order) - 1)
        self._outputs[order[found].where(batch.index >= 0, len(order))] = outputs

    def noted(self) -> Tensor:
        """Return what was said (B, ...) of the rows that came, in their order, in all processes."""
        assert self.incoming is not None, "a step follows a draw"
        # In a step of fewer rows than processes, some were asked for no loss.
        shape = shape_somewhere(self._outputs, self.num_rows)
        if self._outputs is None:
            self._outputs = torch.zeros(shape, device=self.incoming.targets.device)
        return add_up(self._outputs)[:-1]

    def remember(self, batch: Batch, logits: Tensor | None = None) -> None:
        """Offer rows to the memory, as they came, with what the model said of them."""
        tasks = torch.full_like(batch.targets, self.number)
        self.memory.insert(batch.inputs, batch.targets, tasks, logits, batch.weights)

    def after_step(self, model: nn.Module, batch: Batch) -> None:
        """Offer the rows that came to the memory."""
        assert self.incoming is not None, "a step follows a draw"
        self.remember(self.incoming)


def with_replayed(batch: Batch, *draws: Drawn, capacity: int = 0) -> Batch:
    """Return a batch and the rows of draws, in their order; texts are padded to one length.

    Args:
        batch: The rows that come.
        draws: Rows of a memory. The index of one is -1 - slot, less the capacity for each draw
            before.
        capacity: Slots of the memory; only to tell several draws apart.
    """
    if not draws:
        return batch
    inputs = [batch.inputs, *(drawn.inputs for drawn in draws)]
    if not inputs[0].is_floating_point():
        width = max(rows.shape[1] for rows in inputs)
        inputs = [F.pad(rows, (0, width - rows.shape[1])) for rows in inputs]
    index = [-1 - number * capacity - drawn.slots for number, drawn in enumerate(draws)]
    weights = None
    if batch.weights is not None:
        ones = torch.ones_like(batch.weights[:1])
        own = [ones.expand(len(d)) if d.weights is None else d.weights for d in draws]
        weights = torch.cat([batch.weights, *own])
    return Batch(
        torch.cat(inputs),
        torch.cat([batch.targets, *(drawn.targets for drawn in draws)]),
        torch.cat([batch.index, *index]),
        weights,
    )
