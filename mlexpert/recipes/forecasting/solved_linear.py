"""Forecasts by one linear map around the last value, solved for and not trained.

The map is that of NLinear: of the last `context` values less the newest, the same for all columns.
Its squared error has a minimum in closed form. An L2 penalty, chosen on validation, keeps the map
from following the noise of the training windows. A fit takes seconds, and has neither a learning
rate nor a seed. Quantiles are those of the errors on validation, by step and column, so coverage is
to be read on other rows. Covariates known ahead enter by regression of their changes, covariates
known up to now by a second map, of what the first leaves over.

Paper: Toner and Darlow 2024, arXiv:2403.14587 (closed-form solutions of linear forecasters); Zeng
    et al. 2023, arXiv:2205.13504 (NLinear); Hoerl and Kennard 1970,
    doi:10.1080/00401706.1970.10488634 (the penalty).
Differs from the papers: the penalty is chosen on validation, and there is no intercept, so that a
forecast moves with the level of what was seen.
Results: benchmarks/sequence/results.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch.optim import SGD

from mlexpert.blocks.backbones.nlinear import NLinear
from mlexpert.blocks.schedules import constant
from mlexpert.data.schema import Schema
from mlexpert.families.forecasting import ForecastRecipe
from mlexpert.recipe import Encoded, Parts
from mlexpert.training.methods.solved_forecasting import SolvedForecast
from mlexpert.training.plan import Stretch


@dataclass(frozen=True, kw_only=True)
class Forecasting(ForecastRecipe):
    """A linear map around the last value, solved for in closed form."""

    name: ClassVar[str] = "forecasting"
    version: ClassVar[int] = 1
    usual: ClassVar = {"epochs": 1, "batch_size": 256, "lr": 0.0}

    epochs: int | None = 1
    """Of no effect: every window is looked at once for each map that is solved for."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(not self.ema, "ema", "None or 0: there are no steps to average over")

    def build(self, schema: Schema) -> Parts:
        """Assemble the map and what solves for it."""
        network = self.network(schema, NLinear(self.context, self.horizon))
        method = SolvedForecast(self.scale(schema), self.quantiles or ())
        optimizer = SGD(network.model.parameters(), lr=0.0)  # makes no step
        return self.parts_of(network, method, optimizer, constant())

    def stretches(self, parts: Parts, schema: Schema, rows: Encoded) -> tuple[Stretch, ...]:
        """Return the one stretch, in which no gradient step is made."""
        assert isinstance(parts.method, SolvedForecast), "what `build` made"
        parts.method.validation = rows.validation
        (stretch,) = super().stretches(parts, schema, rows)
        return (stretch.without_steps(),)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(Forecasting)
