"""A fitted forecaster: the values to come, and how good its forecasts were from many origins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mlexpert.data.examples import Examples
from mlexpert.data.sequences.calendars import TimeStep, times_after
from mlexpert.data.sequences.forecast_windows import Windows
from mlexpert.data.sequences.timeline import Timeline
from mlexpert.data.sequences.timelines import read_timeline
from mlexpert.errors import InputError
from mlexpert.families.forecast_baselines import BASELINES, seasonal_naive
from mlexpert.families.forecasting import ForecastRecipe, timeline_of
from mlexpert.fitted.forecast_tables import known_ahead, origins_of, table_of
from mlexpert.fitted.sequences import SequenceFitted


class FittedForecaster(SequenceFitted):
    """What `fit` returns of a forecasting recipe."""

    @property
    def _forecasting(self) -> ForecastRecipe:
        assert isinstance(self.recipe, ForecastRecipe), "made for these alone"
        return self.recipe

    def forecast(
        self, horizon: int | None = None, *, context: Any = None, future: Any = None
    ) -> pd.DataFrame:
        """Return the values that come next, in their own units.

        Args:
            horizon: Steps to forecast; at most those that were trained. None: all of these.
            context: Rows of the form that was fitted on, of which the newest are looked at. None:
                the newest of train and validation; the rows of the sealed test are not looked at,
                unless you give them here.
            future: Times (and series) to come with the covariates that are known ahead.

        Returns:
            A row for each series and step: time, series where there are several, and the targets.
            With quantiles a row for each target too: "target", "forecast" (the median), and a
            column for each level.

        Raises:
            InputError: If the horizon is longer than trained, `context` has too few rows, or
                covariates to come are missing.
        """
        recipe, stats = self._forecasting, timeline_of(self.schema)
        steps = recipe.horizon if horizon is None else horizon
        if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
            raise InputError(f"horizon={horizon!r}; it takes a whole number of at least 1.")
        if steps > recipe.horizon:
            raise InputError(
                f"horizon={steps}: this model was trained to forecast {recipe.horizon} steps; fit "
                f"again with horizon={steps}."
            )
        timeline = self._timeline(context) if context is not None else self._newest()
        windows, times = self._with_future(timeline, future, int(steps))
        device = next(self.parts.network.model.parameters()).device
        with torch.inference_mode():
            said = self.parts.network.model.eval()(windows.to(device)).float().cpu()
        values = recipe.scale(self.schema).in_units(said)[:, :steps].numpy()  # (S, H, K, Q)
        names = [span.name for span in timeline.spans]
        return table_of(stats, names, times, values, recipe.quantiles)

    def backtest(self, ds: Any = None, *, every: int | None = None) -> pd.DataFrame:
        """Return how far forecasts were off, from one origin after the other.

        Args:
            ds: Rows of the form that was fitted on. None: the run's own validation rows.
            every: Steps from one origin to the next. None: the horizon.

        Returns:
            A row for each series, origin and target: "origin" is the last time that was seen,
            "mae" and "rmse" are in the units of the target, "mase" is the first over that of the
            seasonal naive forecast.

        Raises:
            InputError: If `ds` is refused, or `every` is no whole number of at least 1.
        """
        recipe, stats = self._forecasting, timeline_of(self.schema)
        examples = self._rows(ds)
        chosen = self._origins(examples, recipe.horizon if every is None else every)
        scale, rows = recipe.scale(self.schema), []
        for windows, steps in recipe.forecasts(self.parts, chosen):
            true = scale.in_units(scale.true(windows)[..., None])[..., 0]
            seen = scale.in_units(scale.seen(windows)[0][..., None])[..., 0]
            off = scale.in_units(steps)[..., self._point] - true  # (B, H, K)
            season = seasonal_naive(seen.transpose(1, 2), recipe.horizon, stats.period).transpose(
                1, 2
            )
            mae, base = off.abs().mean(dim=1), (season - true).abs().mean(dim=1)
            rows.append(torch.stack([mae, off.square().mean(dim=1).sqrt(), mae / base], dim=-1))
        errors = torch.cat(rows).flatten(0, 1).numpy()
        table = origins_of(chosen.inputs, stats)
        table = table.loc[table.index.repeat(len(stats.targets))].reset_index(drop=True)
        table["target"] = list(stats.targets) * len(chosen)
        table[["mae", "rmse", "mase"]] = errors
        return table

    def baselines(self, ds: Any = None, *, windows: int = 20) -> pd.DataFrame:
        """Return errors of this model and of simple forecasts on some windows.

        Args:
            ds: Rows of the form that was fitted on. None: the run's own validation rows.
            windows: How many are looked at, evenly spread; exponential smoothing and autoregression
                are fitted anew on every one.

        Returns:
            Rows of "name", "mse" and "mae", standardised by train, the best first.

        Raises:
            InputError: If `ds` is refused, or statsmodels is missing.
        """
        recipe, stats = self._forecasting, timeline_of(self.schema)
        examples = self._rows(ds)
        if windows < 1:
            raise InputError(f"windows={windows!r}; it takes at least 1.")
        places = np.linspace(0, len(examples) - 1, min(windows, len(examples))).round().astype(int)
        chosen, scale = examples.select(np.unique(places)), recipe.scale(self.schema)
        errors: dict[str, list[Tensor]] = {}
        for rows, steps in recipe.forecasts(self.parts, chosen):
            true = scale.true(rows)
            errors.setdefault(self.recipe.name, []).append(steps[..., self._point] - true)
            seen = scale.seen(rows)[0].double().transpose(1, 2)  # (B, K, L)
            for name, method in BASELINES.items():
                found = [
                    method(series, recipe.horizon, stats.period)
                    for series in seen.flatten(0, 1).numpy()
                ]
                said = torch.from_numpy(np.stack(found)).view(*seen.shape[:2], -1).transpose(1, 2)
                errors.setdefault(name, []).append(said - true)
        means = {name: torch.cat(off).double() for name, off in errors.items()}
        table = pd.DataFrame(
            [
                {"name": name, "mse": float(off.square().mean()), "mae": float(off.abs().mean())}
                for name, off in means.items()
            ]
        )
        return table.sort_values("mse", kind="stable", ignore_index=True)

    @property
    def _point(self) -> int:
        return (self._forecasting.quantiles or [0.5]).index(0.5)

    def _labelled(self, ds: Any) -> Examples:
        """Return the windows of rows, whose columns are those of training."""
        stats = timeline_of(self.schema)
        roles = {"time": stats.time, "target": list(stats.targets), "group": stats.series}
        parts = self._forecasting.read(ds, roles)
        if list(parts) != ["all"]:
            raise InputError(f"one set of rows is needed here, not the splits {', '.join(parts)}.")
        self._refuse_other_steps(parts["all"].inputs.timeline)
        return parts["all"]

    def _rows(self, ds: Any) -> Examples:
        if ds is not None:
            return self._labelled(ds)
        (validation,) = self._all_held(self._run_dir("evaluation without rows")).validation
        return validation

    def _origins(self, examples: Examples, every: Any) -> Examples:
        if isinstance(every, bool) or not isinstance(every, int | np.integer) or every < 1:
            raise InputError(f"every={every!r}; it takes a whole number of at least 1.")
        windows: Windows = examples.inputs
        firsts = np.array([span.first for span in windows.timeline.spans])
        own = firsts[np.searchsorted(firsts, windows.starts, side="right") - 1]
        return examples.select(np.flatnonzero((windows.starts - own) % every == 0))

    def _newest(self) -> Timeline:
        (validation,) = self._all_held(self._run_dir("forecast without a context")).validation
        return validation.inputs.timeline

    def _timeline(self, context: Any) -> Timeline:
        recipe, stats = self._forecasting, timeline_of(self.schema)
        timeline = read_timeline(
            context,
            time=stats.time,
            target=stats.targets,
            group=stats.series,
            past=stats.past,
            future=stats.future,
            forward_fill=recipe.fill == "forward",
        )
        for span in timeline.spans:
            if span.end - span.first < recipe.context:
                which = f" of series {span.name!r}" if span.name else ""
                raise InputError(
                    f"context has {span.end - span.first} rows{which}; the model looks at "
                    f"{recipe.context}."
                )
        self._refuse_other_steps(timeline)
        return timeline

    def _refuse_other_steps(self, timeline: Timeline) -> None:
        stats, layout = timeline_of(self.schema), timeline.layout
        alike = np.isclose(layout.step, stats.step, rtol=0.2 if stats.step > 86_400 * 27 else 1e-6)
        if not alike or bool(layout.frequency) != bool(stats.frequency):
            raise InputError(
                f"these rows come every {layout.frequency or layout.step}, and those of training "
                f"every {stats.frequency or stats.step}."
            )

    def _with_future(
        self, timeline: Timeline, future: Any, steps: int
    ) -> tuple[Tensor, list[np.ndarray]]:
        """Return the newest window (S, L + H, C) of each series, and the times that follow it."""
        recipe, stats = self._forecasting, timeline_of(self.schema)
        step = TimeStep(stats.frequency, stats.step)
        shape = (len(timeline.spans), recipe.context + recipe.horizon, timeline.values.shape[1])
        windows, times = np.zeros(shape), []
        for number, span in enumerate(timeline.spans):
            windows[number, : recipe.context] = timeline.values[
                span.end - recipe.context : span.end
            ]
            times.append(times_after(timeline.times[span.end - 1], steps, step))
            if stats.future:
                known = known_ahead(future, stats, span, times[-1])
                # Steps that were not asked for go on with the last.
                windows[number, recipe.context :, -len(stats.future) :] = known[-1]
                end = recipe.context + steps
                windows[number, recipe.context : end, -len(stats.future) :] = known
        if future is not None and not stats.future:
            raise InputError(
                f"{recipe.name} was fitted without future_covariates; leave future= out."
            )
        return torch.from_numpy(windows), times
