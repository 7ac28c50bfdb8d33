"""EWC: weights that earlier tasks' predictions depend on are held where those tasks left them.

After a task the Fisher information says how fast predictions change with each weight, and a
parabola as steep as that is put around it. All tasks' parabolas take the memory of one.

Paper: Kirkpatrick et al. 2017, arXiv:1612.00796, equation 3; online=True: Schwarz et al. 2018,
arXiv:1805.06370, section 4, one parabola for all tasks around the newest weights.
Differs from the paper: the Fisher information is exact, of every row by itself and over the classes
that the loss is over (van de Ven 2025, arXiv:2502.11756), so it is the same for any batch size. The
penalty's gradient is added once a step in its closed form; the loss that is shown is without it.
Under SGD no parabola is steeper than 1 / lr.
Results: benchmarks/continual/results.md
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from torch import nn

from mlexpert.blocks.importance.fisher import Labels, fisher
from mlexpert.blocks.layers.task_classes import TaskClasses
from mlexpert.data.schema import Schema
from mlexpert.families.continual import ContinualRecipe
from mlexpert.recipe import Parts
from mlexpert.training.method import Batch, Task
from mlexpert.training.methods.held_weights import HeldWeights, rows_of

STRENGTHS = {"task": 1e5, "domain": 1e10, "class": 1e9}
"""What van de Ven et al. 2022 found for Split-MNIST, by scenario."""


@dataclass(frozen=True, kw_only=True)
class Ewc(ContinualRecipe):
    """Cross-entropy, with weights held by their Fisher information."""

    name: ClassVar[str] = "continual-cls/ewc"
    version: ClassVar[int] = 1
    needs_boundaries: ClassVar[bool] = True

    strength: float | None = None
    """Factor on the penalty, half the sum of the parabolas; lambda in the paper. None: as published
    for Split-MNIST, 1e5 (task), 1e10 (domain) or 1e9 (class)."""
    online: bool = False
    """One parabola around the newest weights, where it is otherwise one for each task."""
    gamma: float = 1.0
    """Factor on the earlier Fisher information at a task's end, from 0 to 1; for online=True."""
    labels: Literal["expected", "sampled", "empirical"] = "expected"
    """Labels of the Fisher information. expected: all, by their probability under the model, which
    takes a backward pass for each class; sampled: one drawn by it; empirical: the rows' own."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        is_strength = self.strength is None or 0 <= self.strength < math.inf
        self.require(is_strength, "strength", "a number of 0 or more")
        self.require(0 <= self.gamma <= 1, "gamma", "a factor from 0 to 1")
        self.require(self.online or self.gamma == 1, "gamma", "1 with online=False")

    def settle(self, schema: Schema) -> Self:
        """Fill in what was published for the scenario, and what depends on the kind of data."""
        strength = STRENGTHS[self.scenario] if self.strength is None else self.strength
        return replace(super().settle(schema), strength=strength)

    def build(self, schema: Schema) -> Parts:
        """Assemble network, cross-entropy and penalty."""
        assert self.strength is not None, "fit settles a recipe first"
        network, classes = self.network(schema), self.classes(schema)
        method = EwcMethod(
            network.model,
            classes,
            strength=self.strength,
            decay=self.gamma if self.online else None,
            labels=self.labels,
            by_task=self.scenario == "task",
            augment=self.augmentation(),
        )
        parts = self.parts(schema, network, method, classes=classes)
        method.suit(parts.optimizer)
        return parts


class EwcMethod(HeldWeights):
    """Holds weights by their Fisher information.

    Args:
        model: See `HeldWeights`, as for those that are not named here.
        classes: Which were met.
        decay: Of the earlier information, around the newest weights. None: a parabola a task.
        labels: See `fisher`.
    """

    def __init__(
        self,
        model: nn.Module,
        classes: TaskClasses,
        *,
        decay: float | None,
        labels: Labels,
        strength: float,
        by_task: bool,
        augment: Callable[[Batch], Batch] | None = None,
    ) -> None:
        super().__init__(model, classes, strength=strength, by_task=by_task, augment=augment)
        self.decay, self.labels = decay, labels

    def end_task(self, model: nn.Module, task: Task) -> None:
        """Take the Fisher information of the task's rows, at the weights that it leaves behind."""
        importance = fisher(model, rows_of(task), mask=self.masked, labels=self.labels)
        if self.decay is None:
            self.penalty.add(model, importance)
        else:
            self.penalty.move(model, importance, decay=self.decay)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(Ewc)
