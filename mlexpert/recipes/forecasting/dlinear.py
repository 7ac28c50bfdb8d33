"""DLinear: a moving average and what is left of the series, each by a linear map of its own.

All columns share the two maps.

Paper: Zeng et al. 2023, arXiv:2205.13504, section 3.3.
Differs from the paper: every window is scored, where its code drops the last incomplete batch;
quantiles can be forecast, by pinball losses; one learning rate, where the paper has one for each
data set.
Results: benchmarks/sequence/results.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch.optim import AdamW

from mlexpert.blocks.backbones.dlinear import DLinear
from mlexpert.data.schema import Schema
from mlexpert.families.forecasting import ForecastRecipe, halved_each_epoch
from mlexpert.recipe import Parts
from mlexpert.training.methods.forecasting import ForecastMethod


@dataclass(frozen=True, kw_only=True)
class DLinearForecast(ForecastRecipe):
    """Linear maps of trend and remainder, trained by gradient steps."""

    name: ClassVar[str] = "forecasting/dlinear"
    version: ClassVar[int] = 1
    usual: ClassVar = {"epochs": 10, "batch_size": 32, "lr": 5e-3, "patience": 3}

    kernel: int = 25
    """Rows of the moving average, odd."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(self.kernel >= 1 and self.kernel % 2 == 1, "kernel", "odd and at least 1")

    def build(self, schema: Schema) -> Parts:
        """Assemble the maps, their loss and Adam, whose rate is halved after every epoch."""
        assert self.epochs and self.lr is not None and self.weight_decay is not None, "settled"
        sizes = (self.context, self.horizon, self.num_outputs)
        network = self.network(schema, DLinear(*sizes, kernel=self.kernel))
        return self.parts_of(
            network,
            ForecastMethod(self.scale(schema), self.quantiles or ()),
            AdamW(network.model.parameters(), lr=self.lr, weight_decay=self.weight_decay),
            halved_each_epoch(self.epochs),
        )


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(DLinearForecast)
