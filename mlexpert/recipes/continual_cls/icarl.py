"""iCaRL: exemplars by herding, distillation by the earlier self, and the nearest mean of exemplars.

The network learns by binary cross-entropy on the task's rows and the exemplars alike; what it said
of earlier classes before the task is their target. At a task's end exemplars are chosen for its
classes, all others lose their least important ones, and a row is given the class whose exemplars
have the nearest mean feature. Between a task's ends the linear head answers.

Paper: Rebuffi et al. 2017, arXiv:1611.07725, algorithms 1 to 5.
Differs from the paper: the teacher's logits are divided by 2, as in van de Ven et al. 2022,
doi:10.1038/s42256-022-00568-3, and it is asked about the augmented rows; exemplars stand in a batch
as often as they would, on average, if they were mixed with the task's rows. A class that comes
again (domain-incremental) is learned by its labels and has exemplars of every domain: nothing is
distilled there. BatchNorm has one pass over rows and exemplars.
Results: benchmarks/continual/results.md
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.grouped_linear import GroupedLinear
from mlexpert.blocks.layers.nearest_mean_head import NearestMeanHead
from mlexpert.blocks.layers.task_classes import TaskClasses
from mlexpert.blocks.losses.distillation import binary_distillation
from mlexpert.blocks.replay.exemplars import Exemplars
from mlexpert.data.schema import Schema
from mlexpert.families.continual import ContinualRecipe
from mlexpert.networks.heads import head_of, replace_head
from mlexpert.recipe import Encoded, Parts
from mlexpert.training.method import Batch, Loss, Task, summed
from mlexpert.training.methods import exemplars
from mlexpert.training.methods.continual import ContinualMethod
from mlexpert.training.methods.replay import with_replayed
from mlexpert.training.plan import Stretch

ALLOWED = (
    "'class' or 'domain': its means are for telling all classes apart, of which most are ruled out "
    "where the task is told; take continual-cls/lwf or continual-cls/er"
)


@dataclass(frozen=True, kw_only=True)
class Icarl(ContinualRecipe):
    """Nearest mean of exemplars, on features that distil what they were."""

    name: ClassVar[str] = "continual-cls/icarl"
    version: ClassVar[int] = 1
    needs_boundaries: ClassVar[bool] = True

    buffer_size: int = 1000
    """Exemplars of all classes together; K in the paper."""
    replay_size: int | None = None
    """Exemplars in a batch, beside `batch_size` rows of the task. None: as many as stand in one on
    average where both are mixed, as in the paper."""

    temperature: float = 2.0
    """What the logits of the earlier self are divided by, above 0; 1 in the paper. Where it was
    sure of itself, new rows that look like old ones would be held to be old ones."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(self.buffer_size >= 1, "buffer_size", "at least 1")
        self.require(self.replay_size is None or self.replay_size >= 1, "replay_size", "at least 1")
        self.require(0 < self.temperature < math.inf, "temperature", "a number above 0")
        self.require(self.scenario != "task", "scenario", ALLOWED)

    def build(self, schema: Schema) -> Parts:
        """Assemble the network with its head of means, and the exemplars.

        Raises:
            InputError: If the network's last layer is not linear.
        """
        network, classes = self.network(schema), self.classes(schema)
        head = head_of(network.model)[2]
        assert isinstance(head, nn.Linear | GroupedLinear), "a network comes with a linear head"
        replace_head(network.model, NearestMeanHead(head))
        return self.parts(schema, network, IcarlMethod(classes, self), classes=classes)

    def stretches(self, parts: Parts, schema: Schema, rows: Encoded) -> tuple[Stretch, ...]:
        """Return a stretch for each task.

        Raises:
            InputError: If there will be no exemplar for each class, of each task that has it.
        """
        assert rows.train_tasks is not None, "the rows of a stream have their tasks"
        pairs = torch.stack([rows.train.targets.cpu(), rows.train_tasks]).unique(dim=1)
        least = max(schema.num_classes, pairs.shape[1])
        what = f"at least {least}, an exemplar for each class of each task"
        self.require(self.buffer_size >= least, "buffer_size", what)
        return super().stretches(parts, schema, rows)


class IcarlMethod(ContinualMethod):
    """Binary cross-entropy towards labels and the earlier self, and what a task's end chooses."""

    distilled: Tensor
    """(K,) whether the teacher is asked about a class: those of earlier tasks alone."""

    def __init__(self, classes: TaskClasses, recipe: Icarl) -> None:
        super().__init__(classes, by_task=False, augment=recipe.augmentation())
        self.exemplars, self.replay_size = Exemplars(recipe.buffer_size), recipe.replay_size
        self.distils, self.num_rows = recipe.scenario == "class", 1
        self.temperature = recipe.temperature
        self.register_buffer("distilled", torch.zeros_like(classes.seen))
        self.register_module("teacher", None)

    def begin_task(self, model: nn.Module, task: Task) -> None:
        """Keep a copy of the model as the teacher; its means are of features about to change."""
        super().begin_task(model, task)
        counts = task.class_counts.to(self.distilled.device)
        self.num_rows = max(1, int(counts.sum()))
        exemplars.head_of_means(model).forget()
        if task.number and self.distils:
            self.distilled.copy_(self.classes.seen & (counts == 0))
            self.teacher = copy.deepcopy(model).eval().requires_grad_(False)

    def draw(self, model: nn.Module, batch: Batch) -> Batch:
        """Return the rows and some exemplars, augmented."""
        self.classes.see(batch.targets, self.number)
        size = self.replay_size
        if size is None:  # a share of a row is a chance of one
            size = int(len(batch) * len(self.exemplars) / self.num_rows + float(torch.rand(())))
        draws = [self.exemplars.draw(size)] if size and len(self.exemplars) else []
        return self.augmented(with_replayed(batch, *draws))

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the rows' binary cross-entropies, summed over the classes that were met."""
        logits = self.classes.of_seen(model(batch.inputs))
        says = (
            logits if self.teacher is None else exemplars.linear_logits(self.teacher, batch.inputs)
        )
        soft = says / self.temperature
        losses = binary_distillation(logits, soft, batch.targets, distilled=self.distilled)
        return summed(losses, batch)

    def end_task(self, model: nn.Module, task: Task) -> None:
        """Choose exemplars of the task's classes, and answer by the means of all exemplars."""
        exemplars.choose_exemplars(self.exemplars, model, task)
        exemplars.answer_by_means(self.exemplars, model)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(Icarl)
