"""What methods share that hold weights near where earlier tasks left them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from mlexpert.blocks.importance.quadratic_penalty import QuadraticPenalty
from mlexpert.blocks.layers.task_classes import TaskClasses
from mlexpert.training.method import Batch, Task
from mlexpert.training.methods.continual import ContinualMethod


class HeldWeights(ContinualMethod):
    """Cross-entropy on the rows that come, and a pull of each weight to its place before them.

    What a task leaves behind, its `end_task`, is the paper's own.

    Args:
        model: Whose weights are held.
        classes: Which classes were met.
        strength: Factor on the penalty 1/2 sum_i A_i (theta_i - m_i)^2.
        by_task: See `ContinualMethod`.
        augment: See `ContinualMethod`.
    """

    def __init__(
        self,
        model: nn.Module,
        classes: TaskClasses,
        *,
        strength: float,
        by_task: bool,
        augment: Callable[[Batch], Batch] | None = None,
    ) -> None:
        super().__init__(classes, by_task=by_task, augment=augment)
        self.penalty, self.strength, self.steepest = QuadraticPenalty(model), strength, math.inf

    def suit(self, optimizer: Optimizer) -> None:
        """Bound the pull where the optimiser would overshoot further with each step.

        SGD does where strength times importance is above 2 / lr, and is brought to the place in one
        step by 1 / lr. A step of Adam has the size of lr however strong the pull.
        """
        if isinstance(optimizer, SGD):
            self.steepest = 1 / max(group["lr"] for group in optimizer.param_groups)

    def after_backward(self, model: nn.Module) -> None:
        """Add the penalty's gradient, once a step and in float32, to that of the loss."""
        if self.number:
            self.penalty.add_gradient(model, strength=self.strength, steepest=self.steepest)


def rows_of(task: Task) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield inputs and targets of the rows of a task that ended, batch by batch."""
    assert task.batches is not None, "the trainer gives a task's end its rows"
    return ((batch.inputs, batch.targets) for batch in task.batches())
