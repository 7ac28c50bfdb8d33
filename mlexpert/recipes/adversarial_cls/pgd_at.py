"""Adversarial training: the network learns from the worst inputs that PGD finds around its rows.

Paper: Madry et al. 2018, arXiv:1706.06083, equation 2.1.
Differs from the paper: epsilon and learning rate rise at first, since a small network that meets
the whole of epsilon at once may learn nothing; weights are those of the epoch with the best robust
accuracy on validation (Rice et al. 2020, arXiv:2002.11569).
Results: benchmarks/adversarial/results.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.data.schema import Schema
from mlexpert.families.adversarial import AdversarialRecipe
from mlexpert.recipe import Parts
from mlexpert.training.method import Batch, Loss, summed
from mlexpert.training.methods.adversarial import AdversarialMethod


@dataclass(frozen=True, kw_only=True)
class PgdAt(AdversarialRecipe):
    """Cross-entropy of inputs under attack."""

    name: ClassVar[str] = "adversarial-cls/pgd-at"
    version: ClassVar[int] = 1

    def build(self, schema: Schema) -> Parts:
        """Assemble network and attack."""
        return self.parts(schema, self.network(schema), PgdTraining(self.attacking(schema)))


class PgdTraining(AdversarialMethod):
    """Cross-entropy at the end of a PGD attack."""

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Attack a micro-batch, and return the sum of its rows' losses."""
        moved = self.adversarial(model, batch)
        return summed(cross_entropy(model(moved), batch.targets), batch)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(PgdAt)
