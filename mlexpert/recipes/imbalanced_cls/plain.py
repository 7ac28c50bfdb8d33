"""The baseline: cross-entropy and plain argmax, calibrated, with nothing done about rare classes.

What every method for imbalanced data has to beat on the same network, data and schedule. It
maximises accuracy, which is what you want only if an error on a rare class costs no more than one
on a frequent class.

Paper: Guo et al. 2017, arXiv:1706.04599, for the temperature; the rest is the textbook's.
Differs from the paper: the temperature is fitted with a weak prior around 1.
Results: benchmarks/imbalanced_cls/results.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mlexpert.blocks.decisions.argmax import Argmax
from mlexpert.data.schema import Schema
from mlexpert.families.classification import ClassificationRecipe
from mlexpert.recipe import Parts
from mlexpert.training.methods.cross_entropy import CrossEntropy


@dataclass(frozen=True, kw_only=True)
class Plain(ClassificationRecipe):
    """Plain cross-entropy, and the most probable class."""

    name: ClassVar[str] = "imbalanced-cls/plain"
    version: ClassVar[int] = 1

    def build(self, schema: Schema) -> Parts:
        """Assemble network, cross-entropy and argmax."""
        network = self.network(schema)
        method = CrossEntropy(shift=self.shift or 0, flip=self.flip)
        return self.parts(schema, network, method, decide=Argmax(schema.class_counts))


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(Plain)
