"""Which classes a stream has brought so far, and in which task: what logits are masked by."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MASKED = -1e4
"""The logit of a class that is out of the question. Minus infinity would do the same, but for the
gradient of a temperature, in which infinity times a probability of 0 is no number."""


class TaskClasses(nn.Module):
    """The task in which each class was first met.

    Nothing is known of a class before a row of it comes: a model that is to learn classes one after
    another must neither choose among those to come nor be trained against them.

    Args:
        num_classes: Outputs of the model, K.

    Example:
        >>> classes = TaskClasses(3)
        >>> classes.see(torch.tensor([2, 2]), 0)
        >>> classes.seen.tolist(), classes.tasks_of(torch.tensor([2])).tolist()
        ([False, False, True], [0])
    """

    task_of_class: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("task_of_class", torch.full((num_classes,), -1))

    @property
    def seen(self) -> Tensor:
        """Whether each class (K,) was met."""
        return self.task_of_class >= 0

    def see(self, targets: Tensor, number: int) -> None:
        """Mark the classes of rows (B,) as met in task `number`; those met before stay as they are.

        Args:
            targets: (B,) class indices, on the device of this module.
            number: Of the task under way, from 0.
        """
        known = self.task_of_class[targets]
        self.task_of_class[targets] = known.where(known >= 0, number)

    def tasks_of(self, targets: Tensor) -> Tensor:
        """Return the task (B,) in which each row's class was met; -1 where it was not."""
        return self.task_of_class.to(targets.device)[targets]

    def of_seen(self, logits: Tensor) -> Tensor:
        """Return logits (B, K) or (B, M, K) with those of classes not met at `MASKED`."""
        return logits.masked_fill(~self.seen.to(logits.device), MASKED)

    def of_tasks(self, logits: Tensor, tasks: Tensor) -> Tensor:
        """Return logits with those of all classes but the ones of each row's task at `MASKED`.

        Args:
            logits: (B, K) or (B, M, K).
            tasks: (B,) the task of each row.
        """
        within = self.task_of_class.to(logits.device) == tasks.to(logits.device)[:, None]
        return logits.masked_fill(~(within[:, None] if logits.ndim == 3 else within), MASKED)
