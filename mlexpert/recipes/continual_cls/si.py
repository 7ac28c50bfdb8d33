"""Synaptic intelligence: weights whose moves took much off an earlier task's loss are held.

Each weight sums up over a task's steps what its own moves took off the loss. Divided by how far it
went, that is how steep a parabola is put around it; importance is found while training, at no cost
in passes.

Paper: Zenke et al. 2017, arXiv:1703.04200, equations 3 to 5.
Differs from the paper: nothing. The gradient of the task's loss is taken note of before that of the
penalty, which has a closed form, is added: the path integral never sees the penalty, nor clipping.
Importance below 0 is 0, as in the authors' code. Under SGD no parabola is steeper than 1 / lr.
Results: benchmarks/continual/results.md
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import nn

from mlexpert.blocks.importance.path_integral import PathIntegral
from mlexpert.blocks.layers.task_classes import TaskClasses
from mlexpert.data.schema import Schema
from mlexpert.families.continual import ContinualRecipe
from mlexpert.recipe import Parts
from mlexpert.training.method import Batch, Task
from mlexpert.training.methods.held_weights import HeldWeights

STRENGTHS = {"task": 10.0, "domain": 5e4, "class": 5e3}
"""What van de Ven et al. 2022 found for Split-MNIST, by scenario."""


@dataclass(frozen=True, kw_only=True)
class Si(ContinualRecipe):
    """Cross-entropy, with weights held by what they did for earlier tasks."""

    name: ClassVar[str] = "continual-cls/si"
    version: ClassVar[int] = 1
    needs_boundaries: ClassVar[bool] = True

    strength: float | None = None
    """Factor on the sum of the parabolas; c in the paper. None: as published for Split-MNIST, 10
    (task), 5e4 (domain) or 5e3 (class)."""
    epsilon: float = 0.1
    """Squared distance that is added to the one a weight went, above 0: bounds the importance of
    one that hardly moved; xi in the paper."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        is_strength = self.strength is None or 0 <= self.strength < math.inf
        self.require(is_strength, "strength", "a number of 0 or more")
        self.require(0 < self.epsilon < math.inf, "epsilon", "a number above 0")

    def settle(self, schema: Schema) -> Self:
        """Fill in what was published for the scenario, and what depends on the kind of data."""
        strength = STRENGTHS[self.scenario] if self.strength is None else self.strength
        return replace(super().settle(schema), strength=strength)

    def build(self, schema: Schema) -> Parts:
        """Assemble network, cross-entropy and penalty."""
        assert self.strength is not None, "fit settles a recipe first"
        network, classes = self.network(schema), self.classes(schema)
        method = SiMethod(
            network.model,
            classes,
            strength=2 * self.strength,  # the paper's penalty has no 1/2
            epsilon=self.epsilon,
            by_task=self.scenario == "task",
            augment=self.augmentation(),
        )
        parts = self.parts(schema, network, method, classes=classes)
        method.suit(parts.optimizer)
        return parts


class SiMethod(HeldWeights):
    """Holds weights by the path integral of each.

    Args:
        model: See `HeldWeights`, as for those that are not named here.
        classes: Which were met.
        epsilon: See `Si`.
    """

    def __init__(
        self,
        model: nn.Module,
        classes: TaskClasses,
        *,
        epsilon: float,
        strength: float,
        by_task: bool,
        augment: Callable[[Batch], Batch] | None = None,
    ) -> None:
        super().__init__(model, classes, strength=strength, by_task=by_task, augment=augment)
        self.integral, self.epsilon = PathIntegral(model), epsilon

    def begin_task(self, model: nn.Module, task: Task) -> None:
        """Start to sum up from here."""
        super().begin_task(model, task)
        self.integral.begin(model)

    def after_backward(self, model: nn.Module) -> None:
        """Take note of the gradient of the task's loss, then add that of the penalty."""
        self.integral.before_step(model)
        super().after_backward(model)

    def after_step(self, model: nn.Module, batch: Batch) -> None:
        """Sum up what each weight's move took off the task's loss."""
        super().after_step(model, batch)
        self.integral.after_step(model)

    def end_task(self, model: nn.Module, task: Task) -> None:
        """Add the task's importance to the earlier, around the weights that it leaves behind."""
        self.penalty.move(model, self.integral.importance(model, epsilon=self.epsilon))


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(Si)
