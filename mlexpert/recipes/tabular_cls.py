"""Classification of tables: an ensemble of small networks that share nearly all of their weights.

Numbers enter by their place among training's quantiles, categories by an embedding, missing values
by a mark of their own: all of it is in the model, and nothing needs to be prepared. Each member is
trained by its own loss; the prediction is their mean probability.

Paper: Gorishniy et al. 2024, arXiv:2410.24210 (TabM-mini); Gorishniy et al. 2022, arXiv:2203.05556
    (piecewise linear embeddings).
Differs from the papers: weights are averaged over steps, and the epoch is chosen by the log loss
after calibration; bins are spread over distinct quantiles; categories are embedded. A normal score
beside the bins takes the place of the robust scaling of RealMLP (arXiv:2407.04491).
Results: benchmarks/classification/results.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch.optim import AdamW

from mlexpert.blocks.optimizers.parameter_groups import layerwise_groups
from mlexpert.blocks.schedules import constant
from mlexpert.classifier import ClassifierRecipe
from mlexpert.data.schema import Schema
from mlexpert.networks.tables import table_network
from mlexpert.recipe import Parts
from mlexpert.training.supervised import Supervised


@dataclass(frozen=True, kw_only=True)
class TabularCls(ClassifierRecipe):
    """TabM-mini with piecewise linear embeddings, for one class or several labels a row."""

    name: ClassVar[str] = "tabular-cls"
    version: ClassVar[int] = 1
    kinds: ClassVar = ("tabular",)

    members: int = 16
    """Networks in the ensemble; k in the paper. Time grows with them, memory hardly."""
    width: int = 128
    """Features of a hidden layer."""
    depth: int = 2
    """Hidden layers; the members differ in the first."""
    dropout: float = 0.1
    """Share of hidden features that are dropped in training."""
    num_bins: int = 48
    """Bins of a numeric column at most; fewer where it has fewer distinct values."""
    embedding_size: int | None = None
    """Features that a number becomes, and a category at most. None: 16, and fewer in a table of
    more than 64 columns."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        for name in ("members", "width", "depth", "num_bins", "embedding_size"):
            value = getattr(self, name)
            self.require(value is None or value >= 1, name, "at least 1")
        self.require(0 <= self.dropout < 1, "dropout", "0 or more and below 1")

    def settle(self, schema: Schema) -> Self:
        """Fill in what depends on the number of rows and columns."""
        rows = max(1, schema.num_examples)
        defaults = {
            "epochs": 150,
            "batch_size": min(256, max(64, 2 ** round(math.log2(rows / 64)))),
            "lr": 2e-3,
            "weight_decay": 3e-4,
            "patience": 16,
            "clip_norm": 1.0,
            "ema": 0.995,
            "embedding_size": max(2, min(16, 1024 // max(1, len(schema.columns)))),
        }
        return replace(self, **{k: v for k, v in defaults.items() if getattr(self, k) is None})

    def build(self, schema: Schema) -> Parts:
        """Assemble the ensemble, its members' losses and AdamW at a constant rate."""
        what = self.objective_parts(schema)
        assert self.embedding_size and self.lr is not None and self.weight_decay is not None
        network = table_network(
            schema,
            members=self.members,
            width=self.width,
            depth=self.depth,
            dropout=self.dropout,
            num_bins=self.num_bins,
            embedding_size=self.embedding_size,
        )
        groups = layerwise_groups(
            network.model, lr=self.lr, weight_decay=self.weight_decay, layer_decay=1.0
        )
        return Parts(
            network=network,
            method=Supervised(what.loss),
            optimizer=AdamW(groups, lr=self.lr, fused=True),
            schedule=constant(),
            decide=what.decide,
            evaluate=what.evaluate,
            monitor=what.monitor,
        )


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(TabularCls)
