"""PatchTST: a transformer over patches of each series, which is normed by what was seen of it.

Series share all weights and are read one by one. The norm is reversible: mean and deviation of the
window are taken off before the network and put on after it.

Paper: Nie et al. 2023, arXiv:2211.14730; Kim et al. 2022, openreview.net/forum?id=cGDAkQo1C0p
    (reversible instance norm).
Differs from the papers: attention scores are not carried from layer to layer; one configuration,
the first paper's for small data sets, and a one-cycle schedule of fewer epochs; the reversible norm
learns nothing, as in the first paper's scripts; quantiles can be forecast, by pinball losses.
Results: benchmarks/sequence/results.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch.optim import AdamW

from mlexpert.blocks.backbones.patch_transformer import PatchTransformer
from mlexpert.blocks.schedules import one_cycle
from mlexpert.data.schema import Schema
from mlexpert.families.forecasting import ForecastRecipe
from mlexpert.recipe import Parts
from mlexpert.training.methods.forecasting import ForecastMethod


@dataclass(frozen=True, kw_only=True)
class PatchTstForecast(ForecastRecipe):
    """A transformer over patches, one series at a time."""

    name: ClassVar[str] = "forecasting/patchtst"
    version: ClassVar[int] = 1
    usual: ClassVar = {"epochs": 10, "batch_size": 128, "lr": 5e-4, "patience": 5}

    patch: int = 16
    """Rows of a patch; P in the paper."""
    stride: int = 8
    """Rows from one patch to the next; S in the paper."""
    dim: int = 16
    """Features of a token; D in the paper, which takes 128 for large data sets."""
    num_layers: int = 3
    """Transformer layers."""
    num_heads: int = 4
    """Attention heads; they divide `dim`."""
    hidden: int = 128
    """Width of the feed-forward layers; F in the paper."""
    dropout: float = 0.3
    """Share of features dropped in training."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        for name in ("patch", "stride", "dim", "num_layers", "num_heads", "hidden"):
            self.require(getattr(self, name) >= 1, name, "at least 1")
        self.require(self.patch <= self.context, "patch", f"at most context={self.context}")
        self.require(self.dim % self.num_heads == 0, "num_heads", f"a divisor of dim={self.dim}")
        self.require(0 <= self.dropout < 1, "dropout", "0 or more and below 1")

    def build(self, schema: Schema) -> Parts:
        """Assemble the transformer, its loss and Adam."""
        assert self.lr is not None and self.weight_decay is not None, "fit settles a recipe first"
        backbone = PatchTransformer(
            self.context,
            self.horizon,
            self.num_outputs,
            patch=self.patch,
            stride=self.stride,
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
            one_cycle(),
        )


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(PatchTstForecast)
