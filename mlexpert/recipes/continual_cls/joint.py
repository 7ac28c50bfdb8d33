"""Joint training: the rows of all tasks at once, as if there had been no stream.

The upper bound that continual learning is measured against. It is no method for a stream: it needs
all rows at the same time, and refuses to learn on.

Paper: van de Ven et al. 2022, doi:10.1038/s42256-022-00568-3 ("Joint").
Differs from the paper: it makes as many passes over the rows as others make over each task's, and
so as many steps.
Results: benchmarks/continual/results.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mlexpert.data.schema import Schema
from mlexpert.families.continual import ContinualRecipe
from mlexpert.recipe import Encoded, Parts
from mlexpert.training.methods.continual import ContinualMethod
from mlexpert.training.plan import Stretch


@dataclass(frozen=True, kw_only=True)
class Joint(ContinualRecipe):
    """Cross-entropy on the rows of all tasks together."""

    name: ClassVar[str] = "continual-cls/joint"
    version: ClassVar[int] = 1

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(self.boundaries, "boundaries", "True: all tasks are trained on at once")

    def build(self, schema: Schema) -> Parts:
        """Assemble network and cross-entropy."""
        network, classes = self.network(schema), self.classes(schema)
        by_task = self.scenario == "task"
        method = ContinualMethod(classes, by_task=by_task, augment=self.augmentation())
        return self.parts(schema, network, method, classes=classes)

    def num_stretches(self, num_tasks: int) -> int:
        """Return 1: all tasks are one."""
        return 1

    def rows_of(self, tasks: Mapping[int, Tensor], targets: Tensor, number: int) -> Tensor:
        """Return the rows of all tasks."""
        return torch.cat([*tasks.values()])

    def stretches(self, parts: Parts, schema: Schema, rows: Encoded) -> tuple[Stretch, ...]:
        """Return one stretch; the task of each class is told beforehand."""
        assert rows.train_tasks is not None and isinstance(parts.method, ContinualMethod)
        for number in rows.train_tasks.unique().tolist():
            parts.method.classes.see(rows.train.targets[rows.train_tasks == number], number)
        return super().stretches(parts, schema, rows)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(Joint)
