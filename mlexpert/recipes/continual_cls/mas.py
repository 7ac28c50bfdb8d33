"""Memory aware synapses: weights that the outputs of earlier tasks' rows depend on are held.

After a task each weight gets a parabola as steep as the mean change of the outputs' squared length
with it. That needs rows, and no labels.

Paper: Aljundi et al. 2018, arXiv:1711.09601, equations 2 and 3, with the squared length of section
4.1.
Differs from the paper: the gradient is every row's own; outputs of classes that the loss is not
over do not count. The penalty's gradient is added once a step in its closed form; the loss that is
shown is without it. Under SGD no parabola is steeper than 1 / lr.
Results: benchmarks/continual/results.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mlexpert.blocks.importance.memory_aware import memory_aware
from mlexpert.data.schema import Schema
from mlexpert.families.continual import ContinualRecipe
from mlexpert.recipe import Parts
from mlexpert.training.method import Task
from mlexpert.training.methods.held_weights import HeldWeights, rows_of


@dataclass(frozen=True, kw_only=True)
class Mas(ContinualRecipe):
    """Cross-entropy, with weights held by how much the outputs depend on them."""

    name: ClassVar[str] = "continual-cls/mas"
    version: ClassVar[int] = 1
    needs_boundaries: ClassVar[bool] = True

    strength: float = 1.0
    """Factor on the sum of the parabolas; lambda in the paper, and its value there."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(0 <= self.strength < math.inf, "strength", "a number of 0 or more")

    def build(self, schema: Schema) -> Parts:
        """Assemble network, cross-entropy and penalty."""
        network, classes = self.network(schema), self.classes(schema)
        method = MasMethod(
            network.model,
            classes,
            strength=2 * self.strength,  # the paper's penalty has no 1/2
            by_task=self.scenario == "task",
            augment=self.augmentation(),
        )
        parts = self.parts(schema, network, method, classes=classes)
        method.suit(parts.optimizer)
        return parts


class MasMethod(HeldWeights):
    """Holds weights by the change of the outputs' squared length with each."""

    def end_task(self, model: nn.Module, task: Task) -> None:
        """Add the task's importance to the earlier, around the weights that it leaves behind."""
        self.penalty.move(model, memory_aware(model, rows_of(task), mask=self.masked))


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(Mas)
