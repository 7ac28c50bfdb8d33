"""What recipes for tables share: the fields of the ensemble, and how it is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch.optim import AdamW

from mlexpert.blocks.optimizers.parameter_groups import layerwise_groups
from mlexpert.blocks.schedules import constant
from mlexpert.data.examples import Kind
from mlexpert.data.schema import Schema
from mlexpert.families.classifier import ObjectiveParts
from mlexpert.networks.tables import table_network
from mlexpert.recipe import Parts, Recipe
from mlexpert.training.methods.supervised import Supervised


@dataclass(frozen=True, kw_only=True)
class TableRecipe(Recipe):
    """A recipe whose network is an ensemble over embedded columns."""

    kinds: ClassVar[tuple[Kind, ...]] = ("tabular",)
    usual_epochs: ClassVar[int] = 150
    """Passes at most; patience ends training earlier as a rule."""

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
            "epochs": self.usual_epochs,
            "batch_size": min(256, max(64, 2 ** round(math.log2(rows / 64)))),
            "lr": 2e-3,
            "weight_decay": 3e-4,
            "patience": 16,
            "clip_norm": 1.0,
            "ema": 0.995,
            "embedding_size": max(2, min(16, 1024 // max(1, len(schema.columns)))),
        }
        return replace(self, **{k: v for k, v in defaults.items() if getattr(self, k) is None})

    def ensemble(self, schema: Schema, what: ObjectiveParts) -> Parts:
        """Assemble the ensemble, its members' losses and AdamW at a constant rate."""
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
