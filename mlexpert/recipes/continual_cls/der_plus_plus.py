"""DER++: replayed rows keep the logits that they were given when they came, and their labels.

The memory is a reservoir of rows, labels and what the network said of each row in the step that
trained on it. Later it is held to that by a squared error on one draw, and to the label by
cross-entropy on another, independent one. It needs no boundaries between tasks.

Paper: Buzzega et al. 2020, arXiv:2004.07211, equation 6 and algorithm 2.
Differs from the paper: cross-entropy is over the classes met so far, or those of the row's task
where that is told. The squared error is the paper's, over all outputs that the network had when the
row came, those of classes to come as well: that holds them down on old rows, and is worth one to
two points. BatchNorm has one pass over rows that come and both draws.
Results: benchmarks/continual/results.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mlexpert.blocks.replay.reservoir import Reservoir
from mlexpert.data.schema import Schema
from mlexpert.families.replay import ReplayRecipe
from mlexpert.recipe import Parts
from mlexpert.training.method import Batch, Loss
from mlexpert.training.methods.former_logits import FormerLogits


@dataclass(frozen=True, kw_only=True)
class DerPlusPlus(ReplayRecipe):
    """Cross-entropy, and rows of a reservoir with their labels and their former logits."""

    name: ClassVar[str] = "continual-cls/der++"
    version: ClassVar[int] = 1

    alpha: float = 0.5
    """Weight of the squared error to former logits, 0 or more; alpha in the paper."""
    beta: float = 1.0
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
        method = DerMethod(classes, memory, how, alpha=self.alpha, beta=self.beta)
        return self.parts(schema, network, method, classes=classes)


class DerMethod(FormerLogits):
    """Cross-entropy of rows that come and of the second draw, squared error of the first."""

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the sum of the three means, as a loss of this piece."""
        logits = model(batch.inputs)
        return self.three_means(self.cross_entropy(logits, batch.targets), logits, batch)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(DerPlusPlus)
