"""Deferred re-weighting: plain cross-entropy first, class weights at the end of training.

Weights from the start disturb the features that frequent classes would have taught. Beginning late,
when the learning rate is low, they move the decision and little else.

Paper: Cao et al. 2019, arXiv:1906.07413, section 3.3; weights by Cui et al. 2019, arXiv:1901.05555.
Differs from the paper: the deferral is a fraction of training, not an epoch; the learning rate has
no step there.
Results: benchmarks/imbalanced_cls/results.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.data.schema import Schema
from mlexpert.families.deferred_reweighting import DeferredRecipe
from mlexpert.recipe import Parts


@dataclass(frozen=True, kw_only=True)
class Drw(DeferredRecipe):
    """Cross-entropy with class weights that begin late."""

    name: ClassVar[str] = "imbalanced-cls/drw"
    version: ClassVar[int] = 1

    def build(self, schema: Schema) -> Parts:
        """Assemble network, cross-entropy and late weights."""
        return self.reweighted(schema, self.network(schema), cross_entropy)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(Drw)
