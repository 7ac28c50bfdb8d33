"""TRADES with an average of the weights: a robust network at a small price in accuracy.

Cross-entropy on clean inputs, plus beta times how far an attacker moves what is said of them. A
moving average of the weights is what is judged and kept: it withstands more than the last weights
do, and does not overfit to the attacker of training as they do.

Papers: Zhang et al. 2019, arXiv:1901.08573, equation 5 (TRADES); Gowal et al. 2020,
    arXiv:2010.03593, section 4.5 (the average).
Differs from the papers: the attack has seven steps from a random point of the ball; epsilon and
learning rate rise at first; the epoch is chosen by robust accuracy on validation.
Results: benchmarks/adversarial/results.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mlexpert.data.schema import Schema
from mlexpert.families.trades import TradesRecipe
from mlexpert.recipe import Parts
from mlexpert.training.methods.trades import Trades


@dataclass(frozen=True, kw_only=True)
class AdversarialCls(TradesRecipe):
    """TRADES, and the moving average of its weights."""

    name: ClassVar[str] = "adversarial-cls"
    version: ClassVar[int] = 1
    average: ClassVar[float] = 0.998

    def build(self, schema: Schema) -> Parts:
        """Assemble network, attack and loss."""
        assert self.beta is not None, "fit settles a recipe first"
        method = Trades(self.attacking(schema), beta=self.beta)
        return self.parts(schema, self.network(schema), method)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(AdversarialCls)
