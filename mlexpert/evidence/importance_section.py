"""What shuffling each column of a table costs the model."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mlexpert.evidence.metric_table import METRICS
from mlexpert.evidence.plots import thousands
from mlexpert.evidence.record import RunRecord
from mlexpert.evidence.svg import COLORS, drawing, to_svg

MOST_COLUMNS = 20
"""Columns that are drawn; of more, those that matter most."""
_LONGEST_NAME = 28


def importance(record: RunRecord) -> dict[str, Any] | None:
    """Return the figure of the columns that matter most; None where it was not measured."""
    found = record.importance
    if not found:
        return None
    columns = sorted(found["columns"], key=lambda one: -one["mean"])
    shown = columns[:MOST_COLUMNS]
    metric = str(found.get("metric", ""))
    title = METRICS[metric].title if metric in METRICS else metric
    idle = [one["column"] for one in columns if one["mean"] <= 2 * (one.get("std") or 0)]
    return {
        "figure": Markup(_figure(shown, title)),
        "title": title[:1].lower() + title[1:] if title[1:2].islower() else title,
        "rows": found.get("rows"),
        "repeats": found.get("repeats"),
        "left_out": len(columns) - len(shown),
        "columns": len(columns),
        "idle": len(idle),
    }


def _figure(columns: list[dict[str, Any]], title: str) -> str:
    names = [str(one["column"]) for one in columns]
    names = [
        name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name in names
    ]
    means = np.array([one["mean"] for one in columns], dtype=float)
    spreads = np.array([one.get("std") or 0 for one in columns], dtype=float)
    with drawing(width=6.4, height=0.8 + 0.27 * max(len(columns), 2)) as (figure, (axes,)):
        places = np.arange(len(columns))
        axes.barh(places, means, 0.62, color=COLORS["train"], alpha=0.75, lw=0)
        axes.errorbar(means, places, xerr=spreads, fmt="none", ecolor=COLORS["ink"], elinewidth=1.4)
        axes.axvline(0, color=COLORS["muted"], lw=1)
        axes.set_yticks(places, names)
        axes.tick_params("y", length=0, labelcolor=COLORS["ink"])
        axes.set(ylim=(len(columns) - 0.4, -0.6), xlabel=f"{title}: how much is lost")
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.xaxis.set_major_formatter(FuncFormatter(thousands))
        return to_svg(figure, "importance of the columns")
