"""GDumb: a balanced sample of the stream, and a network trained from scratch on it alone.

Rows are kept greedily, with an equal share for every class met so far. After each task a network of
fresh weights is trained on them. A method that does no better gains nothing as it goes.

Paper: Prabhu et al. 2020, ECCV, "GDumb: A simple approach that questions our progress in continual
learning", algorithms 1 and 2.
Differs from the paper: the family's optimiser at a constant rate, without CutMix and cycles of the
learning rate; a task's rows come in random order; where tasks share their classes, a class of one
task has a share of its own. Fresh weights are the first ones. A model that learns on has the
memory alone of what came before: rows of it join the new task's sample by their classes' share.
Results: benchmarks/continual/results.md
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.task_classes import TaskClasses
from mlexpert.blocks.replay.class_balanced_buffer import ClassBalancedBuffer
from mlexpert.data.schema import Schema
from mlexpert.families.replay import ReplayRecipe
from mlexpert.recipe import Encoded, Parts
from mlexpert.training.method import Batch, Loss, Task
from mlexpert.training.methods.replay import Replay, Replaying
from mlexpert.training.plan import Stretch
from mlexpert.training.sharding import like


@dataclass(frozen=True, kw_only=True)
class GDumb(ReplayRecipe):
    """Cross-entropy on a balanced memory, from scratch after each task."""

    name: ClassVar[str] = "continual-cls/gdumb"
    version: ClassVar[int] = 1
    needs_boundaries: ClassVar[bool] = True

    def settle(self, schema: Schema) -> Self:
        """Fill in what depends on the data; the rows are few, so they are passed often."""
        return replace(super().settle(schema), epochs=self.epochs or 50)

    def memory(self) -> ClassBalancedBuffer:
        """Return an empty memory."""
        return ClassBalancedBuffer(self.buffer_size, by_task=self.scenario == "domain")

    def build(self, schema: Schema) -> Parts:
        """Assemble network, cross-entropy and memory."""
        network, classes = self.network(schema), self.classes(schema)
        method = GDumbMethod(network.model, classes, self.memory(), self.replaying())
        return self.parts(schema, network, method, classes=classes)

    def rows_of(self, tasks: Mapping[int, Tensor], targets: Tensor, number: int) -> Tensor:
        """Return the sample of the tasks so far, or of this one where the memory has the others."""
        memory, so_far = self.memory(), [task for task in tasks if task <= number]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            for task in so_far if 0 in tasks else [number]:
                rows = tasks[task][torch.randperm(len(tasks[task]))]
                memory.insert(rows, targets[rows].cpu(), torch.full_like(rows, task))
            return memory.draw(self.buffer_size).inputs.sort().values

    def stretches(self, parts: Parts, schema: Schema, rows: Encoded) -> tuple[Stretch, ...]:
        """Return a stretch for each task, each with an optimiser that has gathered nothing."""
        assert isinstance(parts.method, GDumbMethod) and rows.train_tasks is not None
        fits = self.buffer_size >= schema.num_classes
        self.require(fits, "buffer_size", f"at least {schema.num_classes}, a row for each class")
        parts.method.has_all = int(rows.train_tasks.min()) == 0
        made, model = super().stretches(parts, schema, rows), parts.network.model
        fresh = [replace(one.stage, optimizer=self.optimizer(model, schema)) for one in made]
        return tuple(replace(one, stage=own) for one, own in zip(made, fresh, strict=True))


class GDumbMethod(Replay):
    """Begins each task with fresh weights, and keeps the rows that it was trained on."""

    def __init__(
        self, model: nn.Module, classes: TaskClasses, memory: ClassBalancedBuffer, how: Replaying
    ) -> None:
        super().__init__(classes, memory, how)
        self.first, self.sample = copy.deepcopy(model).requires_grad_(False), memory
        self.has_all, self.share = True, 0.0
        """Whether a task's rows are the sample of all tasks; else the loss that the memory has."""

    def begin_task(self, model: nn.Module, task: Task) -> None:
        """Give the network its first weights back."""
        super().begin_task(model, task)
        first, there = self.first.state_dict(), model.state_dict()
        model.load_state_dict({name: like(first[name], there[name]) for name in first})
        new, old = set(task.class_counts.nonzero().flatten().tolist()), set(self.sample.counts)
        self.share = len(old) / max(1, len(old | new))  # a class of one task is like no class

    def wants_replay(self) -> bool:
        """Return whether rows of earlier tasks are in the memory alone."""
        return not self.has_all and super().wants_replay()

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the mean over the sample, as a loss of this piece."""
        losses = self.cross_entropy(model(batch.inputs), batch.targets)
        share = self.share if self.has_replayed else 0.0
        return self.means(losses, batch, (1 - share, share))

    def after_step(self, model: nn.Module, batch: Batch) -> None:
        """Leave the memory as it is until the task ends."""

    def end_task(self, model: nn.Module, task: Task) -> None:
        """Keep the sample, or offer it to the memory where that has rows of its own."""
        assert task.batches is not None, "the trainer gives a task's end its rows"
        if self.has_all:
            self.sample.clear()
        for batch in task.batches():
            self.remember(batch)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(GDumb)
