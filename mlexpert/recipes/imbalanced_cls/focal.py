"""Focal loss: rows that are classified well count less, and with them most of the frequent class.

The factor (1 - p)^gamma is not a weight of the class, so the prior stays in the logits; decisions
are corrected by it after training, and a temperature mends the confidences that the loss holds
down.

Paper: Lin et al. 2017, arXiv:1708.02002, equation 4.
Differs from the paper: softmax over K classes; without alpha, which `imbalanced-cls/class-balanced`
has as its weights; decisions are corrected by the prior.
Results: benchmarks/imbalanced_cls/results.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from mlexpert.blocks.losses.focal import Focal
from mlexpert.data.schema import Schema
from mlexpert.families.classification import ClassificationRecipe
from mlexpert.recipe import Parts
from mlexpert.training.methods.supervised import Supervised


@dataclass(frozen=True, kw_only=True)
class FocalLoss(ClassificationRecipe):
    """Focal loss, and a decision adjusted by the prior."""

    name: ClassVar[str] = "imbalanced-cls/focal"
    version: ClassVar[int] = 1

    gamma: float = 2.0
    """How much less a row counts that is classified well, 0 or more; 0 is cross-entropy."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(0 <= self.gamma < math.inf, "gamma", "a number of 0 or more")

    def build(self, schema: Schema) -> Parts:
        """Assemble network and focal loss."""
        method = Supervised(Focal(gamma=self.gamma), augment=self.augmentation())
        return self.parts(schema, self.network(schema), method)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(FocalLoss)
