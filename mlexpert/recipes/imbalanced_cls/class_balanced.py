"""Class-balanced loss: classes are weighted by their effective number of rows.

The weight of a class is (1 - beta) / (1 - beta^n). Between beta = 0, no weights, and 1, the inverse
of its frequency, more rows of a class that has many count ever less. With gamma above 0 the loss is
focal (CB-focal).

Paper: Cui et al. 2019, arXiv:1901.05555, equations 10 and 12.
Differs from the paper: the mean of the weights over the training rows is 1; focal loss is over the
softmax; probabilities are put back to the natural prior.
Results: benchmarks/imbalanced_cls/results.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from mlexpert.blocks.losses.effective_number import effective_number_weights
from mlexpert.blocks.losses.focal import Focal
from mlexpert.data.schema import Schema
from mlexpert.families.classification import ClassificationRecipe
from mlexpert.recipe import Parts
from mlexpert.training.methods.supervised import Supervised


@dataclass(frozen=True, kw_only=True)
class ClassBalanced(ClassificationRecipe):
    """Cross-entropy or focal loss, weighted by the effective numbers of rows."""

    name: ClassVar[str] = "imbalanced-cls/class-balanced"
    version: ClassVar[int] = 1

    beta: float = 0.9999
    """Of the effective number of rows, from 0 (no weights) to below 1 (inverse frequency)."""
    gamma: float = 0.0
    """How much less a row counts that is classified well, 0 or more; 0 is cross-entropy."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(0 <= self.beta < 1, "beta", "0 or more and below 1")
        self.require(0 <= self.gamma < math.inf, "gamma", "a number of 0 or more")

    def build(self, schema: Schema) -> Parts:
        """Assemble network and weighted loss."""
        weight = effective_number_weights(schema.class_counts, beta=self.beta)
        loss = Focal(gamma=self.gamma, class_weight=weight)
        method = Supervised(loss, augment=self.augmentation())
        return self.parts(schema, self.network(schema), method, log_weight=weight.log())


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(ClassBalanced)
