"""iTransformer: every column is a token, so that columns which move together tell of each other.

A token is the whole window of a column, normed by itself; attention is between columns.

Paper: Liu et al. 2024, arXiv:2310.06625; Kim et al. 2022, openreview.net/forum?id=cGDAkQo1C0p
    (reversible instance norm).
Differs from the papers: layer norm before every sublayer; one configuration, and a rate that is
halved after every epoch from one start; quantiles can be forecast, by pinball losses.
Results: benchmarks/sequence/results.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch.optim import AdamW

from mlexpert.blocks.backbones.inverted_transformer import InvertedTransformer
from mlexpert.data.schema import Schema
from mlexpert.families.forecasting import ForecastRecipe, halved_each_epoch
from mlexpert.recipe import Parts
from mlexpert.training.methods.forecasting import ForecastMethod


@dataclass(frozen=True, kw_only=True)
class ITransformerForecast(ForecastRecipe):
    """A transformer whose tokens are columns."""

    name: ClassVar[str] = "forecasting/itransformer"
    version: ClassVar[int] = 1
    usual: ClassVar = {"epochs": 10, "batch_size": 32, "lr": 1e-4, "patience": 3}

    dim: int = 256
    """Features of a token; D in the paper."""
    num_layers: int = 2
    """Transformer layers; L in the paper."""
    num_heads: int = 8
    """Attention heads; they divide `dim`."""
    hidden: int = 256
    """Width of the feed-forward layers."""
    dropout: float = 0.1
    """Share of features dropped in training."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        for name in ("dim", "num_layers", "num_heads", "hidden"):
            self.require(getattr(self, name) >= 1, name, "at least 1")
        self.require(self.dim % self.num_heads == 0, "num_heads", f"a divisor of dim={self.dim}")
        self.require(0 <= self.dropout < 1, "dropout", "0 or more and below 1")

    def build(self, schema: Schema) -> Parts:
        """Assemble the transformer, its loss and Adam, whose rate is halved after every epoch."""
        assert self.epochs and self.lr is not None and self.weight_decay is not None, "settled"
        backbone = InvertedTransformer(
            self.context,
            self.horizon,
            self.num_outputs,
            dim=self.dim,
            num_heads=self.num_heads,
            num_layers=self.num_layers,
            hidden=self.hidden,
            dropout=self.dropout,
        )
        network = self.network(schema, backbone)
        return self.parts_of(
            network,
            ForecastMethod(self.scale(schema), self.quantiles or ()),
            AdamW(network.model.parameters(), lr=self.lr, weight_decay=self.weight_decay),
            halved_each_epoch(self.epochs),
        )


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(ITransformerForecast)
