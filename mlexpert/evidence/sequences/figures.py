"""The figures of sequences: a fan of forecasts, and a measure over steps or lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from mlexpert.evidence.svg import COLORS, drawing, to_svg

MOST_PAST = 3
"""Horizons of the past that are drawn before a forecast, at most."""


def fan(one: Mapping[str, Any]) -> str:
    """Draw a forecast after its past: the truth, the median, and bands between quantiles.

    Args:
        one: "past" and "true", lists of numbers, and "quantiles", a list for each level as text.
    """
    true = np.asarray(one["true"], dtype=float)
    past = np.asarray(one["past"], dtype=float)[-MOST_PAST * len(true) :]
    ahead = np.arange(1, len(true) + 1)
    levels = sorted(one["quantiles"], key=float)
    lines = {level: np.asarray(one["quantiles"][level], dtype=float) for level in levels}
    with drawing() as (figure, (axes,)):
        axes.plot(np.arange(1 - len(past), 1), past, color=COLORS["muted"], lw=1.2)
        for low, high in zip(levels[: len(levels) // 2], levels[::-1], strict=False):
            axes.fill_between(
                ahead, lines[low], lines[high], color=COLORS["validation"], alpha=0.22, lw=0
            )
        middle = lines[levels[len(levels) // 2]]
        axes.plot(ahead, middle, color=COLORS["validation"], label="forecast")
        axes.plot(ahead, true, color=COLORS["ink"], lw=1.2, ls=(0, (3, 2)), label="true")
        axes.axvline(0.5, color=COLORS["grid"], lw=1)
        axes.set(xlabel="steps from now")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.legend(frameon=False, loc="upper left", fontsize=9)
        return to_svg(figure, "forecast and what came")


def over_steps(
    values: Sequence[float],
    what: str,
    measure: str,
    *,
    first: int = 0,
    steps: Sequence[float] | None = None,
) -> str:
    """Draw a measure (S,) over steps.

    Args:
        values: The measure at each step.
        what: What is counted along the horizontal axis.
        measure: What is measured.
        first: The first step, where `steps` does not say.
        steps: (S,) places of the values.
    """
    places = np.arange(first, first + len(values)) if steps is None else np.asarray(steps)
    with drawing(height=3.0) as (figure, (axes,)):
        marker = "o" if len(values) <= 12 else None
        axes.plot(places, values, color=COLORS["validation"], marker=marker, ms=4)
        axes.set(xlabel=what, ylabel=measure)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        return to_svg(figure, f"{measure} over {what}")
