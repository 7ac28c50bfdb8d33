"""What recipes share that forecast series: windows over time, cut by time, scaled by train."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from mlexpert.blocks.backbones.forecaster import Forecaster
from mlexpert.blocks.layers.window_scale import WindowScale
from mlexpert.blocks.losses.pinball import pinball
from mlexpert.blocks.schedules import Schedule
from mlexpert.data.examples import Examples, Kind
from mlexpert.data.finding import Finding
from mlexpert.data.schema import Schema
from mlexpert.data.sequences.calendars import TimeStep, season_of
from mlexpert.data.sequences.forecast_splits import divide_by_time, examples_of
from mlexpert.data.sequences.forecast_windows import Windows, WindowStore, refuse_short
from mlexpert.data.sequences.statistics import TimelineStats
from mlexpert.data.sequences.timelines import read_timeline
from mlexpert.data.splits import Splits
from mlexpert.errors import InputError
from mlexpert.families.forecast_baselines import seasonal_naive
from mlexpert.families.forecast_pictures import picture
from mlexpert.families.sequences import SequenceRecipe
from mlexpert.recipe import NO_ROLES, Network, Parts
from mlexpert.training.plan import Data

_NUMBERS = 4_000_000
"""Numbers of windows that are looked at together."""


@dataclass(frozen=True, kw_only=True)
class ForecastRecipe(SequenceRecipe):
    """A recipe that forecasts the next `horizon` values of one or several columns."""

    kinds: ClassVar[tuple[Kind, ...]] = ("series",)
    predicts: ClassVar = "forecast"
    usual: ClassVar[Mapping[str, Any]]
    """What fields are where they are left to the recipe."""

    context: int = 336
    """Rows that are looked at; the look-back window L of the papers."""
    horizon: int = 96
    """Rows that are forecast; T or H in the papers."""
    quantiles: list | None = None
    """Levels that are forecast besides, such as [0.1, 0.5, 0.9]; 0.5, the point, is one of them.
    None: a point alone, of the least squared error."""
    past_covariates: list | None = None
    """Columns that are known up to now alone; they are looked at and not forecast."""
    future_covariates: list | None = None
    """Columns that are known ahead, such as holidays; `forecast` is given them."""
    fill: Literal["refuse", "forward"] = "refuse"
    """What to do about a missing value: refuse it by name, or take the last one before it."""
    period: int | None = None
    """Rows of a season, for the seasonal naive forecast that others are compared with. None: a day
    of what comes more often than daily, a week of days, a year of weeks, months and quarters."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        for name in ("context", "horizon", "period"):
            value = getattr(self, name)
            self.require(value is None or value >= 1, name, "at least 1")
        levels = self.quantiles
        fits = levels is None or (
            0.5 in levels
            and all(isinstance(one, float) and 0 < one < 1 for one in levels)
            and levels == sorted(set(levels))
        )
        self.require(fits, "quantiles", "None, or levels in ascending order of which one is 0.5")
        for name in ("past_covariates", "future_covariates"):
            columns = getattr(self, name)
            fits = columns is None or all(isinstance(one, str) for one in columns)
            self.require(fits, name, "None, or a list of column names")

    def read(self, ds: Any, roles: Mapping[str, Any] = NO_ROLES) -> dict[str, Examples]:
        """Return the windows of a user's series: "all", or those of the user's own split.

        Raises:
            InputError: If the data cannot be used as it is, or a role means nothing to series.
        """
        self.refuse_roles(roles, ("time", "target", "group"))
        timeline = read_timeline(
            ds,
            time=roles.get("time"),
            target=roles.get("target"),
            group=roles.get("group"),
            past=self.past_covariates or (),
            future=self.future_covariates or (),
            forward_fill=self.fill == "forward",
        )
        refuse_short(timeline, context=self.context, horizon=self.horizon)
        return examples_of(timeline, context=self.context, horizon=self.horizon)

    def divide(self, parts: Mapping[str, Examples]) -> Splits:
        """Return parts that follow one another in time, each cut at one time for all series."""
        return divide_by_time(parts, validation=self.validation, test=self.test)

    def audit(self, splits: Splits) -> list[Finding]:
        """Return that parts follow one another: `divide` makes no others."""
        message = "no row that is forecast in one part is forecast or seen in an earlier one"
        return [Finding("time order", "ok", message)]

    def describe(self, train: Examples) -> Schema:
        """Return columns, steps and scale of the training rows."""
        windows: Windows = train.inputs
        timeline = windows.timeline
        layout = timeline.layout
        step = TimeStep(layout.frequency, layout.step)
        stats = TimelineStats(
            time=layout.time,
            series=layout.series,
            targets=layout.targets,
            past=layout.past,
            future=layout.future,
            frequency=layout.frequency,
            step=layout.step,
            period=self.period or season_of(step),
            mean=tuple(timeline.values.mean(axis=0).tolist()),
            std=tuple(timeline.values.std(axis=0).tolist()),
            names=tuple(span.name for span in timeline.spans if span.name),
        )
        return Schema(
            kind="series",
            classes=(),
            class_names=(),
            class_counts=(),
            objective="forecast",
            num_rows=len(train),
            timeline=stats,
        )

    def settle(self, schema: Schema) -> Self:
        """Fill in what the paper, or this recipe, takes."""
        usual = {"weight_decay": 0.0, "patience": 0, "clip_norm": 0.0, "ema": 0.0, **self.usual}
        filled = {name: one for name, one in usual.items() if getattr(self, name) is None}
        return replace(self, **filled)

    def scale(self, schema: Schema) -> WindowScale:
        """Return what cuts and standardises windows."""
        stats = timeline_of(schema)
        return WindowScale(
            stats.mean,
            stats.std,
            context=self.context,
            num_targets=len(stats.targets),
            num_past=len(stats.past),
        )

    def network(self, schema: Schema, backbone: nn.Module) -> Network:
        """Return the forecaster around a backbone."""
        model = Forecaster(
            self.scale(schema), backbone, horizon=self.horizon, num_outputs=self.num_outputs
        )
        return Network(model, lambda examples: WindowStore.of(examples.inputs))

    @property
    def num_outputs(self) -> int:
        """Numbers that are forecast for each step, Q."""
        return len(self.quantiles or [0.5])

    def encode(self, network: Network, examples: Examples, schema: Schema) -> Data:
        """Return windows; what came next is cut out of them by the method."""
        return Data(network.encode(examples), torch.zeros(len(examples)))

    def said(self, parts: Parts, examples: Examples, schema: Schema) -> dict[str, np.ndarray]:
        """Return errors by window, standardised by train, beside those of the season before."""
        levels = torch.tensor(self.quantiles or [0.5])
        point = (self.quantiles or [0.5]).index(0.5)
        scale, period = self.scale(schema), timeline_of(schema).period
        found: dict[str, list[Tensor]] = {}
        for windows, steps in self.forecasts(parts, examples):
            true = scale.true(windows)
            off = (steps[..., point] - true).double()
            seen = scale.seen(windows)[0].transpose(1, 2)  # (B, K, L)
            naive = seasonal_naive(seen, self.horizon, period).transpose(1, 2)
            sums = {
                "squared": off.square(),
                "absolute": off.abs(),
                "values": torch.ones_like(off),
                "naive_absolute": (naive - true).double().abs(),
            }
            if self.quantiles:
                inside = (steps[..., 0] <= true) & (true <= steps[..., -1])
                sums |= {"pinball": pinball(steps, true, levels), "covered": inside}
            for name, one in sums.items():
                found.setdefault(name, []).append(one.double().flatten(1).sum(dim=1))
        return {name: torch.cat(rows).numpy() for name, rows in found.items()}

    @torch.inference_mode()
    def forecasts(self, parts: Parts, examples: Examples) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield windows (B, L + H, C) and forecasts (B, H, K, Q), standardised, on the CPU."""
        model = parts.network.model.eval()
        device = next(model.parameters()).device
        store = WindowStore.of(examples.inputs)
        size = max(1, _NUMBERS // (store.width * store.values.shape[1]))
        for rows in torch.arange(len(store)).split(size):
            windows = store.take(rows)
            yield windows, model(windows.to(device)).float().cpu()

    def illustrate(self, parts: Parts, examples: Examples, schema: Schema) -> dict[str, Any]:
        """Return forecasts beside the truth, errors by step, and those of the season before."""
        return picture(self, parts, examples, schema)


def halved_each_epoch(epochs: int) -> Schedule:
    """Return the schedule that halves the rate after every epoch, as the papers' code does."""
    return lambda fraction: 0.5 ** math.floor(fraction * epochs + 1e-9)


def timeline_of(schema: Schema) -> TimelineStats:
    """Return what is known of the training series.

    Raises:
        InputError: If the data is no series.
    """
    if schema.timeline is None:
        raise InputError(f"these rows are {schema.kind}; a forecast is of series over time.")
    return schema.timeline
