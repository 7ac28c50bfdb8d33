"""Fine-tuning: every task is trained on as it comes, and nothing is done against forgetting.

The lower bound. In class-incremental learning it ends up knowing the last task alone.

Paper: van de Ven et al. 2022, doi:10.1038/s42256-022-00568-3 ("None").
Differs from the paper: nothing; the loss is over the classes met so far.
Results: benchmarks/continual/results.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mlexpert.data.schema import Schema
from mlexpert.families.continual import ContinualRecipe
from mlexpert.recipe import Parts
from mlexpert.training.methods.continual import ContinualMethod


@dataclass(frozen=True, kw_only=True)
class Naive(ContinualRecipe):
    """Cross-entropy on the rows that come."""

    name: ClassVar[str] = "continual-cls/naive"
    version: ClassVar[int] = 1

    def build(self, schema: Schema) -> Parts:
        """Assemble network and cross-entropy."""
        network, classes = self.network(schema), self.classes(schema)
        by_task = self.scenario == "task"
        method = ContinualMethod(classes, by_task=by_task, augment=self.augmentation())
        return self.parts(schema, network, method, classes=classes)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(Naive)
