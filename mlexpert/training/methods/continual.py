"""What every method that learns a stream does: it masks logits, and knows what was met so far."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from mlexpert.blocks.layers.task_classes import TaskClasses
from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.training.method import Batch, Loss, Method, Task, summed


class ContinualMethod(Method):
    """Cross-entropy on the rows that come, over the classes that can be meant: plain fine-tuning.

    Args:
        classes: Which were met; shared with the rule that decides.
        by_task: Whether the task of a row is told, so that its loss is over the classes of that
            task. Otherwise it is over all classes met so far.
        augment: Changes a batch's inputs; random numbers come from torch's default generator.
    """

    def __init__(
        self,
        classes: TaskClasses,
        *,
        by_task: bool,
        augment: Callable[[Batch], Batch] | None = None,
    ) -> None:
        super().__init__()
        self.classes, self.by_task, self.augment = classes, by_task, augment
        self.number = 0
        """The task under way, from 0."""
        self.incoming: Batch | None = None
        """The rows that came in this step, as they came."""

    def begin_task(self, model: nn.Module, task: Task) -> None:
        """Take note of the task's number."""
        self.number = task.number

    def draw(self, model: nn.Module, batch: Batch) -> Batch:
        """Take note of the rows and their classes, and return them augmented."""
        self.classes.see(batch.targets, self.number)
        self.incoming = batch
        return self.augmented(batch)

    def augmented(self, batch: Batch) -> Batch:
        """Return the batch with its inputs changed at random, where that was asked for."""
        return batch if self.augment is None else self.augment(batch)

    def masked(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return logits (B, K) or (B, M, K) with `MASKED` where a class cannot be meant."""
        if self.by_task:
            return self.classes.of_tasks(logits, self.classes.tasks_of(targets))
        return self.classes.of_seen(logits)

    def cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the losses (B,) over the classes that can be meant, of an ensemble their mean."""
        return cross_entropy(self.masked(logits, targets), targets)

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the sum of the rows' losses."""
        return summed(self.cross_entropy(model(batch.inputs), batch.targets), batch)
