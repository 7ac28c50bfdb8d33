"""Class-balanced sampling: rows are drawn so that every class is seen as often as another.

Rows of rare classes come many times in an epoch, and others not at all. Probabilities are put back
to the natural prior.

Paper: Kang et al. 2020, arXiv:1910.09217, section 3, equations 1 and 3.
Differs from the paper: a class has as many draws as another in every epoch, not only on average;
the rows that progressive balancing takes as they are, it takes once.
Results: benchmarks/imbalanced_cls/results.md
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.blocks.samplers.class_balanced import balanced_log_weight, class_balanced
from mlexpert.blocks.samplers.progressive import progressive
from mlexpert.data.schema import Schema
from mlexpert.families.classification import ClassificationRecipe
from mlexpert.recipe import Parts
from mlexpert.training.methods.supervised import Supervised


@dataclass(frozen=True, kw_only=True)
class ClassBalancedSampling(ClassificationRecipe):
    """Cross-entropy on rows of all classes alike."""

    name: ClassVar[str] = "imbalanced-cls/class-balanced-sampling"
    version: ClassVar[int] = 1

    progressive: bool = False
    """Begin with every row alike and end with every class alike, instead of balancing from the
    first epoch on (equation 3). Probabilities are those of the end: take patience=0."""

    def build(self, schema: Schema) -> Parts:
        """Assemble network, cross-entropy and the order of rows."""
        method = Supervised(cross_entropy, augment=self.augmentation())
        log_weight = balanced_log_weight(schema.class_counts)
        parts = self.parts(schema, self.network(schema), method, log_weight=log_weight)
        return replace(parts, order=progressive if self.progressive else class_balanced)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(ClassBalancedSampling)
