"""What is written down after each task of a stream: how well every task is known by then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mlexpert.blocks.decisions.temperature import log_probabilities
from mlexpert.blocks.layers.task_classes import MASKED, TaskClasses

if TYPE_CHECKING:
    from mlexpert.recipe import Encoded
    from mlexpert.training.trainer import Trainer

TASKS = "tasks"
"""The `split` of its rows in the run's record."""


class TaskRecord:
    """Looks at the validation rows of all tasks, those to come as well, and logs the accuracies.

    Args:
        rows: Of the stream; their tasks are told.
        classes: Which were met.
        scenario: "class", "domain" or "task": what is asked.
    """

    def __init__(self, rows: Encoded, classes: TaskClasses, *, scenario: str) -> None:
        assert rows.train_tasks is not None and rows.validation_tasks is not None
        self.validation, self.classes, self.scenario = rows.validation, classes, scenario
        self.tasks = rows.validation_tasks
        self.first = int(rows.train_tasks.min())
        self.count = 1 + int(torch.cat([rows.train_tasks, self.tasks]).max())
        self.task_of_class = _declared(rows, self.count, len(classes.task_of_class))

    def __call__(self, trainer: Trainer, after: int) -> None:
        """Log what is known after a task, or before any (-1): after those of an earlier run."""
        logits = trainer.logits(self.validation.store)
        number = after if after >= 0 else self.first - 1
        seen = self._seen(number)
        told = None if self.scenario == "domain" else self._accuracies(self._of_own_task(logits))
        asked = told if self.scenario == "task" else self._accuracies(self.classes.of_seen(logits))
        assert asked is not None
        if self.scenario == "class":  # a class that was not met cannot be named
            asked = [value if task in seen else None for task, value in enumerate(asked)]
        state = trainer.method.state_dict().items()
        kept = [value for name, value in state if not name.startswith("classes.")]
        trainer.folder.log(
            {
                "step": trainer.at.step,
                "epoch": trainer.at.epoch,
                "split": TASKS,
                "after": number,
                "class_incremental": asked,
                "task_aware": told,
                "rows": torch.bincount(self.tasks, minlength=self.count).tolist(),
                "seen": seen,
                "train_rows": len(trainer.stretch.train.targets) if after >= 0 else 0,
                "seconds": trainer.at.seconds - trainer.at.before,
                "buffer_bytes": sum(v.nbytes for v in kept if isinstance(v, Tensor)),
            }
        )

    def _seen(self, number: int) -> list[int]:
        """Return the tasks that were met, in whole or in part."""
        if self.scenario == "domain":
            return list(range(number + 1))
        met = (self.task_of_class & self.classes.seen.cpu()).any(dim=1)
        return torch.nonzero(met).flatten().tolist()

    def _of_own_task(self, logits: Tensor) -> Tensor:
        within = self.task_of_class[self.tasks]  # (N, K)
        return logits.masked_fill(~(within[:, None] if logits.ndim == 3 else within), MASKED)

    def _accuracies(self, logits: Tensor) -> list[float | None]:
        right = log_probabilities(logits).argmax(dim=1) == self.validation.targets.cpu()
        own = [right[self.tasks == number] for number in range(self.count)]
        return [float(rows.float().mean()) if len(rows) else None for rows in own]


def _declared(rows: Encoded, count: int, num_classes: int) -> Tensor:
    """Return which classes (T, K) each task has, of the rows at hand."""
    assert rows.train_tasks is not None and rows.validation_tasks is not None
    within = torch.zeros(count, num_classes, dtype=torch.bool)
    within[rows.train_tasks, rows.train.targets.cpu()] = True
    within[rows.validation_tasks, rows.validation.targets.cpu()] = True
    return within
