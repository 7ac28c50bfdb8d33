"""What the report of a forecaster shows: some forecasts, errors by step, and the season before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlexpert.data.examples import Examples
from mlexpert.data.schema import Schema
from mlexpert.data.sequences.forecast_windows import Windows
from mlexpert.families.forecast_baselines import seasonal_naive
from mlexpert.recipe import Parts

if TYPE_CHECKING:
    from mlexpert.families.forecasting import ForecastRecipe

NUM_WINDOWS, NUM_TARGETS = 3, 3
"""Forecasts that are shown: windows, evenly spread, and columns of each."""


def picture(
    recipe: ForecastRecipe, parts: Parts, examples: Examples, schema: Schema
) -> dict[str, Any]:
    """Return what is shown of validation windows, as JSON can hold it."""
    assert schema.timeline is not None, "of series"
    scale, levels = recipe.scale(schema), recipe.quantiles or [0.5]
    point = levels.index(0.5)
    by_step = np.zeros(recipe.horizon)
    naive_squared, naive_absolute, count = 0.0, 0.0, 0
    for windows, steps in recipe.forecasts(parts, examples):
        true, seen = scale.true(windows), scale.seen(windows)[0].transpose(1, 2)
        squared = (steps[..., point] - true).double().square()
        by_step += squared.sum(dim=(0, 2)).numpy()
        season = seasonal_naive(seen, recipe.horizon, schema.timeline.period).transpose(1, 2)
        off = (season - true).double()
        naive_squared += float(off.square().sum())
        naive_absolute += float(off.abs().sum())
        count += true.numel()
    baseline = {
        "name": "seasonal naive",
        "mse": naive_squared / count,
        "mae": naive_absolute / count,
    }
    shown = np.unique(np.linspace(0, len(examples) - 1, NUM_WINDOWS).round().astype(int))
    return {
        "fans": _fans(recipe, parts, examples.select(shown), schema),
        "by_step": (by_step * recipe.horizon / count).tolist(),
        "baselines": [baseline],
    }


def written(time: Any) -> str | float:
    """Return a time as JSON can hold it."""
    if isinstance(time, np.datetime64):
        return str(time.astype("datetime64[s]")).replace("T", " ")
    return float(time)


def _fans(
    recipe: ForecastRecipe, parts: Parts, examples: Examples, schema: Schema
) -> list[dict[str, Any]]:
    """Return forecasts of some windows beside what was seen and what came, in their own units."""
    assert schema.timeline is not None, "of series"
    windows: Windows = examples.inputs
    timeline, levels = windows.timeline, recipe.quantiles or [0.5]
    found = [recipe.scale(schema).in_units(steps) for _, steps in recipe.forecasts(parts, examples)]
    steps = torch.cat(found).numpy()  # (N, H, K, Q)
    past = min(recipe.context, 2 * recipe.horizon)
    fans = []
    for row, start in enumerate(windows.starts.tolist()):
        now, end = start + recipe.context, start + windows.width
        name = next(span.name for span in timeline.spans if span.first <= start < span.end)
        for column, target in enumerate(schema.timeline.targets[:NUM_TARGETS]):
            fans.append(
                {
                    "series": name,
                    "target": target,
                    "past_times": [written(time) for time in timeline.times[now - past : now]],
                    "past": timeline.values[now - past : now, column].tolist(),
                    "times": [written(time) for time in timeline.times[now:end]],
                    "true": timeline.values[now:end, column].tolist(),
                    "quantiles": {
                        str(level): steps[row, :, column, place].tolist()
                        for place, level in enumerate(levels)
                    },
                }
            )
    return fans
