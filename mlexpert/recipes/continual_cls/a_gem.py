"""A-GEM: a step may not raise the loss on a sample of the memory.

Where the gradient of the rows that come points against that of rows drawn from earlier tasks, what
points against it is taken out: g - (g.r / r.r) r. Rows of the memory are never trained on.

Paper: Chaudhry et al. 2019, arXiv:1812.00420, equation 11.
Differs from the paper: the memory is a reservoir of all rows of earlier tasks, offered at each
task's end; without boundaries, of all rows so far. There is one projection of the gradient of the
whole batch, whatever pieces, processes and precision it took; that of the memory is computed in
full precision and in one piece. The memory's pass moves BatchNorm's statistics too.
Results: benchmarks/continual/results.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.task_classes import TaskClasses
from mlexpert.blocks.replay.reservoir import Reservoir
from mlexpert.data.schema import Schema
from mlexpert.families.replay import ReplayRecipe
from mlexpert.recipe import Parts
from mlexpert.training.method import Batch, Task
from mlexpert.training.methods.replay import Replay, Replaying


@dataclass(frozen=True, kw_only=True)
class AGem(ReplayRecipe):
    """Cross-entropy on the rows that come, its gradient projected on what the memory allows."""

    name: ClassVar[str] = "continual-cls/a-gem"
    version: ClassVar[int] = 1

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        whole = "False: the gradient of the memory is taken of a whole model"
        self.require(not self.sharded, "sharded", whole)

    def build(self, schema: Schema) -> Parts:
        """Assemble network, cross-entropy and memory."""
        network, classes = self.network(schema), self.classes(schema)
        memory, how = Reservoir(self.buffer_size), self.replaying()
        method = AGemMethod(classes, memory, how, boundaries=self.boundaries)
        return self.parts(schema, network, method, classes=classes)


class AGemMethod(Replay):
    """Projects the complete gradient once, before the optimiser sees it.

    Args:
        classes: Which were met.
        memory: Where rows are kept.
        how: How rows are masked, changed and drawn.
        boundaries: Whether the memory has rows of earlier tasks alone.
    """

    def __init__(
        self, classes: TaskClasses, memory: Reservoir, how: Replaying, *, boundaries: bool = True
    ) -> None:
        super().__init__(classes, memory, how)
        self.boundaries = boundaries

    def wants_replay(self) -> bool:
        """Return False: no row of the memory is trained on."""
        return False

    def after_backward(self, model: nn.Module) -> None:
        """Take out of the gradient what would raise the loss on rows of the memory."""
        if not len(self.memory):
            return
        assert self.incoming is not None, "a step follows a draw"
        drawn = self.memory.draw(self.size or len(self.incoming))
        rows = self.augmented(Batch(drawn.inputs, drawn.targets, -1 - drawn.slots, drawn.weights))
        losses = self.cross_entropy(model(rows.inputs), rows.targets)
        weights = torch.ones_like(losses) if rows.weights is None else rows.weights
        moved = [p for p in model.parameters() if p.grad is not None]
        loss = (losses * weights).sum() / weights.sum()
        reference = torch.autograd.grad(loss, moved, allow_unused=True, materialize_grads=True)
        project([p.grad for p in moved if p.grad is not None], reference)

    def after_step(self, model: nn.Module, batch: Batch) -> None:
        """Offer the rows that came to the memory where nothing tells when a task ends."""
        if not self.boundaries:
            super().after_step(model, batch)

    def end_task(self, model: nn.Module, task: Task) -> None:
        """Offer the task's rows to the memory."""
        if self.boundaries:
            assert task.batches is not None, "the trainer gives a task's end its rows"
            for batch in task.batches():
                self.remember(batch)


@torch.no_grad()
def project(gradients: list[Tensor], reference: tuple[Tensor, ...]) -> None:
    """Take out of gradients, in place, what points against a reference; equation 11."""
    along = sum((g * r).sum() for g, r in zip(gradients, reference, strict=True))
    length = sum(r.square().sum() for r in reference)
    # As a number that is 0 where they agree: a GPU need not be waited for.
    factor = torch.as_tensor(along).clamp_max(0) / torch.as_tensor(length).clamp_min(1e-30)
    for gradient, row in zip(gradients, reference, strict=True):
        gradient.sub_((factor * row).to(gradient.dtype))


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(AGem)
