"""Validation from rolling origins: fit on all before a time, be judged after it, go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from mlexpert.data.examples import Examples
from mlexpert.data.sequences.forecast_windows import windows_of
from mlexpert.data.sequences.timeline import PARTS, Timeline
from mlexpert.data.sequences.timelines import read_timeline
from mlexpert.errors import InputError
from mlexpert.evidence.objectives import metrics_of
from mlexpert.families.forecasting import ForecastRecipe


def rolling_validation(
    recipe: ForecastRecipe,
    ds: Any,
    *,
    folds: int = 3,
    time: str | None = None,
    target: str | Sequence[str] | None = None,
    group: str | None = None,
    run_dir: str | Path | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Fit a recipe several times, on more and more rows, and judge it on those that follow.

    The end of the series, `recipe.test` of the rows, is left alone, for the sealed test of a fit.
    The rest is cut into `folds` + 2 stretches of as many rows: fold k is trained on the first k,
    chooses on the next, and is judged on the one after, which no fit has seen.

    Args:
        recipe: What is fitted.
        ds: Undivided rows, as for `fit`.
        folds: How many times.
        time: As for `fit`; so are `target` and `group`.
        target: The columns to forecast.
        group: The column that names the series.
        run_dir: Folder of the runs, one for each fold. None: they are not kept.
        progress: Whether to show a progress bar for each.

    Returns:
        A row for each fold: "fold", "train_until", "from", "until", "windows", and the metrics of
        `evaluate`.

    Raises:
        InputError: If data or roles are refused, or a stretch is too short for a window.
    """
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 1:
        raise InputError(f"folds={folds!r}; it takes a whole number of at least 1.")
    if not isinstance(recipe, ForecastRecipe):
        raise InputError(f"{recipe.name} makes no forecasts.")
    timeline = read_timeline(
        ds,
        time=time,
        target=target,
        group=group,
        past=recipe.past_covariates or (),
        future=recipe.future_covariates or (),
        forward_fill=recipe.fill == "forward",
    )
    if timeline.parts.any():
        raise InputError("rolling_validation divides rows by itself; give them undivided.")
    if run_dir is not None:
        return _folds(recipe, timeline, folds, Path(run_dir), progress)
    with TemporaryDirectory(prefix="mlexpert-rolling-") as folder:
        return _folds(recipe, timeline, folds, Path(folder), progress)


def _folds(
    recipe: ForecastRecipe, timeline: Timeline, folds: int, folder: Path, progress: bool
) -> pd.DataFrame:
    """Return a row for each fold."""
    ordered = np.sort(timeline.times)
    ends = np.linspace(0, (1 - recipe.test) * len(ordered), folds + 3).round().astype(int)
    kept = timeline.times <= ordered[ends[-1] - 1]
    begins = [*ordered[ends[:-1]], None]
    rows = []
    for fold in range(folds):
        train_end, judged_from, end = begins[fold + 1 : fold + 4]
        parts = (timeline.times >= train_end) * 1 + (timeline.times >= judged_from) * 1
        parts[~kept if end is None else timeline.times >= end] = -1
        divided = replace(timeline, parts=parts.astype(np.int8))
        found = _fold(recipe, divided, folder / f"fold-{fold}", progress)
        rows.append({"fold": fold, **found})
    return pd.DataFrame(rows)


def _fold(
    recipe: ForecastRecipe, divided: Timeline, run_dir: Path, progress: bool
) -> dict[str, Any]:
    """Fit on parts 0 and 1 of a timeline, and return what is found on part 2."""
    layout, frame, parts = divided.layout, divided.frame(), divided.parts
    fitted = recipe.fit(
        {PARTS[number]: frame[parts == number] for number in (0, 1)},
        time=layout.time,
        target=list(layout.targets),
        group=layout.series,
        run_dir=run_dir,
        progress=progress,
    )
    windows = windows_of(divided, 2, context=recipe.context, horizon=recipe.horizon)
    judged = Examples("series", windows, objective="forecast")
    arrays = recipe.said(fitted.parts, judged, fitted.schema)
    moments = divided.times[parts == 2]
    return {
        "train_until": divided.times[parts == 0].max(),
        "from": moments.min(),
        "until": moments.max(),
        "windows": len(judged),
        **metrics_of("forecast", arrays, train_counts=()),
    }
