"""Logit-adjusted loss: the training prior is added to the logits, so rare classes get a margin.

Cross-entropy of logits plus tau times the logarithm of the prior. At tau = 1 it is balanced softmax
and the network's own argmax minimises the balanced error. Probabilities are put back to the natural
prior.

Paper: Menon et al. 2021, arXiv:2007.07314, equation 10; Ren et al. 2020, arXiv:2007.10740, for
    tau = 1.
Differs from the paper: the epoch is chosen on validation; probabilities are natural ones.
Results: benchmarks/imbalanced_cls/results.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from mlexpert.blocks.losses.logit_adjusted import LogitAdjusted
from mlexpert.data.schema import Schema
from mlexpert.families.classification import ClassificationRecipe
from mlexpert.recipe import Parts
from mlexpert.training.methods.supervised import Supervised


@dataclass(frozen=True, kw_only=True)
class LogitAdjustedLoss(ClassificationRecipe):
    """Cross-entropy of logits that the prior is added to, and the largest logit."""

    name: ClassVar[str] = "imbalanced-cls/logit-adjusted-loss"
    version: ClassVar[int] = 1

    tau: float = 1.0
    """Strength of the adjustment, 0 or more; 0 is plain cross-entropy."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(0 <= self.tau < math.inf, "tau", "a number of 0 or more")

    def build(self, schema: Schema) -> Parts:
        """Assemble network and adjusted loss."""
        loss = LogitAdjusted(schema.prior_counts, tau=self.tau)
        method = Supervised(loss, augment=self.augmentation())
        return self.parts(schema, self.network(schema), method, log_weight=loss.log_weight)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(LogitAdjustedLoss)
