"""TRADES: accuracy on clean inputs, plus beta times how far an attacker moves the answer.

The attacker raises the divergence between what is said of the clean input and of the moved one; no
label is needed for that part.

Paper: Zhang et al. 2019, arXiv:1901.08573, equation 5 and algorithm 1.
Differs from the paper: the attack starts at a random point of the ball, not 0.001 beside the input;
epsilon and learning rate rise at first; weights are those of the epoch with the best robust
accuracy on validation.
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
class TradesCls(TradesRecipe):
    """Cross-entropy of clean inputs and the attacker's divergence."""

    name: ClassVar[str] = "adversarial-cls/trades"
    version: ClassVar[int] = 1

    def build(self, schema: Schema) -> Parts:
        """Assemble network, attack and loss."""
        assert self.beta is not None, "fit settles a recipe first"
        method = Trades(self.attacking(schema), beta=self.beta)
        return self.parts(schema, self.network(schema), method)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(TradesCls)
