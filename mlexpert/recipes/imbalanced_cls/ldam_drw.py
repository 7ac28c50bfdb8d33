"""LDAM with deferred re-weighting: larger margins for rarer classes.

Logits are scaled cosines; that of the true class is lowered by a margin in proportion to n^(-1/4)
before the softmax. Re-weighting by effective number starts late in training.

Paper: Cao et al. 2019, arXiv:1906.07413, equations 11 and 13.
Differs from the paper: the deferral is a fraction of training, not an epoch; the learning rate has
no step there.
Results: benchmarks/imbalanced_cls/results.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from mlexpert.blocks.losses.ldam import Ldam
from mlexpert.data.schema import Schema
from mlexpert.families.deferred_reweighting import DeferredRecipe
from mlexpert.networks.heads import use_cosines
from mlexpert.recipe import Parts


@dataclass(frozen=True, kw_only=True)
class LdamDrw(DeferredRecipe):
    """Margins by class on a cosine classifier, with class weights that begin late."""

    name: ClassVar[str] = "imbalanced-cls/ldam-drw"
    version: ClassVar[int] = 1

    max_margin: float = 0.5
    """Margin of the rarest class, in units of cosine similarity; C in the paper."""
    scale: float = 30.0
    """What cosines are multiplied by to be logits; s in the authors' code."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(0 <= self.max_margin < 2, "max_margin", "0 or more and below 2")
        self.require(0 < self.scale < math.inf, "scale", "a number above 0")

    def build(self, schema: Schema) -> Parts:
        """Assemble a network with a cosine classifier, margins and late weights.

        Raises:
            InputError: If the network's last layer cannot be replaced.
        """
        network = self.network(schema)
        use_cosines(network.model, scale=self.scale)
        loss = Ldam(schema.class_counts, max_margin=self.max_margin, scale=self.scale)
        return self.reweighted(schema, network, loss)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(LdamDrw)
