"""Learning without forgetting: on new rows the network goes on saying what it said of old classes.

Before a task a copy of the network is kept. Its opinion of the task's rows on earlier classes is a
target beside the rows' labels, softened by a temperature; no row of an earlier task is needed.

Paper: Li & Hoiem 2016, arXiv:1606.09282, equations 2 to 4.
Differs from the paper: the t-th task weighs labels by 1/t and the earlier opinion by 1 - 1/t, as
van de Ven et al. 2022, doi:10.1038/s42256-022-00568-3, do; the head is not trained alone first.
Without the task told, the opinion is one distribution over all earlier classes, in which a new one
has no share; with it, one for each earlier task. BatchNorm of the copy stays as it was.
Results: benchmarks/continual/results.md
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.task_classes import MASKED, TaskClasses
from mlexpert.blocks.losses.distillation import distillation
from mlexpert.data.schema import Schema
from mlexpert.families.continual import ContinualRecipe
from mlexpert.recipe import Parts
from mlexpert.training.method import Batch, Loss, Task, summed
from mlexpert.training.methods.continual import ContinualMethod


@dataclass(frozen=True, kw_only=True)
class Lwf(ContinualRecipe):
    """Cross-entropy, and distillation from the network before the task on the task's own rows."""

    name: ClassVar[str] = "continual-cls/lwf"
    version: ClassVar[int] = 1
    needs_boundaries: ClassVar[bool] = True

    temperature: float = 2.0
    """What logits are divided by before the earlier opinion is compared, above 0; T in the
    paper."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(0 < self.temperature < math.inf, "temperature", "a number above 0")

    def build(self, schema: Schema) -> Parts:
        """Assemble network, cross-entropy and distillation."""
        network, classes = self.network(schema), self.classes(schema)
        method = LwfMethod(
            classes,
            temperature=self.temperature,
            by_task=self.scenario == "task",
            augment=self.augmentation(),
        )
        return self.parts(schema, network, method, classes=classes)


class LwfMethod(ContinualMethod):
    """Cross-entropy, and distillation from a copy of the model.

    Args:
        classes: Which were met.
        temperature: See `Lwf`.
        by_task: See `ContinualMethod`.
        augment: See `ContinualMethod`.
    """

    old: Tensor
    """(K,) whether each class was met before the task under way."""

    def __init__(
        self,
        classes: TaskClasses,
        *,
        temperature: float,
        by_task: bool,
        augment: Callable[[Batch], Batch] | None = None,
    ) -> None:
        super().__init__(classes, by_task=by_task, augment=augment)
        self.temperature = temperature
        self.register_buffer("old", torch.zeros_like(classes.seen))
        self.register_module("teacher", None)

    def begin_task(self, model: nn.Module, task: Task) -> None:
        """Keep a copy of the model, and which classes it has been taught."""
        super().begin_task(model, task)
        self.old.copy_(self.classes.seen)
        if task.number:
            self.teacher = copy.deepcopy(model).eval().requires_grad_(False)

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return 1/t of the cross-entropy and 1 - 1/t of the distillation, in the t-th task."""
        logits = model(batch.inputs)
        losses = self.cross_entropy(logits, batch.targets)
        if self.teacher is not None:
            share = 1 / (self.number + 1)
            losses = share * losses + (1 - share) * self.distilled(logits, batch.inputs)
        return summed(losses, batch)

    def distilled(self, logits: Tensor, inputs: Tensor) -> Tensor:
        """Return the losses (B,) against the teacher's opinion of earlier classes."""
        with torch.no_grad():
            says = self.teacher(inputs)
        if logits.ndim > says.ndim:  # every member is told what they said together
            says = says[:, None].expand_as(logits)
        if not self.by_task:
            says, logits = says.masked_fill(~self.old, MASKED), self.classes.of_seen(logits)
            return distillation(logits, says, temperature=self.temperature)
        losses = torch.zeros(len(inputs), device=inputs.device)
        for number in range(self.number):
            told = torch.full((len(inputs),), number, device=inputs.device)
            pair = (self.classes.of_tasks(own, told) for own in (logits, says))
            losses = losses + distillation(*pair, temperature=self.temperature) / self.number
        return losses


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(Lwf)
