"""The figures of a comparison: each metric's means with intervals, and recalls of many classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.patches import PathPatch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mlexpert.evidence.metric_table import METRICS, bounds
from mlexpert.evidence.plots import squares, thousands
from mlexpert.evidence.svg import COLORS, drawing, to_svg

LONGEST_NAME = 26
_DEPTHS = 10


def dots(
    metric: str,
    names: Sequence[str],
    means: np.ndarray,
    intervals: np.ndarray,
    repeats: Sequence[np.ndarray],
    *,
    reference: int | None,
    color: str,
) -> str:
    """Draw the mean of a metric of each recipe with its interval, and the repeats beside it.

    Args:
        metric: Its name.
        names: (R,) of the recipes, in the order from the top.
        means: (R,) over the repeats.
        intervals: (R, 2) ends; NaN where there is none.
        repeats: For each recipe its repeats (S,); a single one is not drawn twice.
        reference: Place of the recipe that the others are compared with; its mean is a line.
        color: One of the page's colours.
    """
    with drawing(height=0.75 + 0.27 * max(len(names), 2)) as (figure, (axes,)):
        places = np.arange(len(names))
        if reference is not None and np.isfinite(means[reference]):
            axes.axvline(means[reference], color=COLORS["muted"], lw=1, ls=(0, (2, 2)))
        axes.hlines(places, intervals[:, 0], intervals[:, 1], color=COLORS[color], lw=2, alpha=0.5)
        for place, own in zip(places, repeats, strict=True):
            if len(own) > 1:
                above = np.full(len(own), place - 0.27)
                axes.plot(own, above, "o", ms=3, color=COLORS["muted"], mew=0)
        axes.plot(means, places, "o", ms=7, color=COLORS[color], mec=COLORS["surface"])
        axes.set_yticks(places, [shortened(name) for name in names])
        axes.tick_params("y", length=0, labelcolor=COLORS["ink"])
        axes.grid(axis="y", visible=False)
        axes.set_xlim(_ends(metric, [means, intervals.ravel(), *repeats]))
        axes.set(ylim=(len(names) - 0.5, -0.6))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.xaxis.set_major_formatter(FuncFormatter(thousands))
        return to_svg(figure, f"{METRICS[metric].title} of each recipe")


def recall_map(recalls: np.ndarray, names: Sequence[str], *, color: str) -> str:
    """Draw recalls (R, K) of many classes, the most frequent one first, a row for each recipe."""
    height = 0.9 + 0.3 * max(len(names), 2)
    with drawing(width=6.4, height=height) as (figure, (axes,)):
        # One path for each of a few depths, as in the confusion matrix of many classes.
        depths = np.ceil(np.nan_to_num(recalls) * _DEPTHS)
        for depth in range(1, _DEPTHS + 1):
            rows, columns = np.nonzero(depths == depth)
            if len(rows):
                cells = squares(rows, columns + 1.0)
                share = depth / _DEPTHS
                axes.add_patch(PathPatch(cells, facecolor=COLORS[color], alpha=share, lw=0))
        for between in range(1, len(names)):
            axes.axhline(between - 0.5, color=COLORS["surface"], lw=2)
        axes.set(xlim=(0.5, recalls.shape[1] + 0.5), ylim=(len(names) - 0.5, -0.5))
        axes.set_yticks(range(len(names)), [shortened(name) for name in names])
        axes.tick_params("y", length=0, labelcolor=COLORS["ink"])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
        axes.set_xlabel("class, most frequent in training first")
        axes.grid(visible=False)
        return to_svg(figure, "recall of each class by recipe")


def shortened(name: str) -> str:
    """Return a name with its middle left out where it is too long for a figure."""
    if len(name) <= LONGEST_NAME:
        return name
    half = (LONGEST_NAME - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def _ends(metric: str, drawn: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return ends of the axis that leave room beside what is drawn, and few empty values."""
    known = np.concatenate(drawn)
    known = known[np.isfinite(known)]
    if len(known) == 0:
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    room = max(0.06 * (high - low), 1e-3 * max(abs(low), abs(high)), 1e-9)
    least, most = bounds(metric)
    # A dot on a bound is drawn whole, and the axis does not promise values beyond it.
    return max(low - room, least - room / 2), min(high + room, most + room / 2)
