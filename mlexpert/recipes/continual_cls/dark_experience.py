"""Dark experience with asymmetric cross-entropy: DER++ whose new classes do not push old ones away.

Rows of a reservoir are replayed twice: held to the logits that the network once gave them, and to
their labels among all classes met so far. Rows that come are told apart from one another alone, so
that a new class does not spoil the features that old ones live in. No boundaries are needed.

Paper: Buzzega et al. 2020, arXiv:2004.07211, equation 6 (DER++); Caccia et al. 2022,
    arXiv:2104.05025, equation 4 (asymmetric cross-entropy).
Differs from the papers: it is both at once, with beta = 2. It was chosen, alpha and beta too, on
rows of Fashion-MNIST that were held out of its training part (benchmarks/LOG.md). A class that
comes alone in a step is told apart from all. BatchNorm has one pass over rows that come and both
draws.
Results: benchmarks/continual/results.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.blocks.replay.reservoir import Reservoir
from mlexpert.data.schema import Schema
from mlexpert.families.replay import ReplayRecipe
from mlexpert.recipe import Parts
from mlexpert.training.method import Batch, Loss
from mlexpert.training.methods.former_logits import FormerLogits


@dataclass(frozen=True, kw_only=True)
class ContinualCls(ReplayRecipe):
    """Former logits and labels of a reservoir, and new classes apart from old ones."""

    name: ClassVar[str] = "continual-cls"
    version: ClassVar[int] = 1

    alpha: float = 0.5
    """Weight of the squared error to former logits, 0 or more; alpha in the paper."""
    beta: float = 2.0
    """Weight of the cross-entropy of replayed rows, 0 or more; beta in the paper."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        for name in ("alpha", "beta"):
            self.require(0 <= getattr(self, name) < math.inf, name, "a number of 0 or more")

    def build(self, schema: Schema) -> Parts:
        """Assemble network, losses and memory."""
        network, classes = self.network(schema), self.classes(schema)
        memory, how = Reservoir(self.buffer_size), self.replaying()
        method = AsymmetricDer(classes, memory, how, alpha=self.alpha, beta=self.beta)
        return self.parts(schema, network, method, classes=classes)


class AsymmetricDer(FormerLogits):
    """DER++ in which rows that come are told apart among the classes of this step alone."""

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the sum of the three means, as a loss of this piece."""
        logits = model(batch.inputs)
        among = self.among_incoming(self.masked(logits, batch.targets), batch)
        return self.three_means(cross_entropy(among, batch.targets), logits, batch)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(ContinualCls)
