"""The figure of the section on training: how far each layer moved in a step, epoch by epoch."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.ticker import MaxNLocator, NullLocator

from mlexpert.evidence.layers import Layers
from mlexpert.evidence.plots import squares
from mlexpert.evidence.svg import COLORS, drawing, to_svg

MOST_ROWS = 40
"""Layers that are drawn one by one; of more, the parts of the network that hold them."""
HEALTHY = 1e-3
LEAST, MOST = 1e-7, 10.0
"""Ends of the axis; what lies beyond is drawn there."""
_LONGEST_NAME = 30
_STRIP = 0.4
"""Where the strip ends, in rows below the last layer's."""
_BANDS = (
    (LEAST, 1e-5, "train", 0.85),
    (1e-5, 1e-4, "train", 0.5),
    (1e-4, 3e-4, "train", 0.2),
    (3e-4, 3e-3, "muted", 0.13),
    (3e-3, 1e-2, "validation", 0.22),
    (1e-2, 1e-1, "validation", 0.55),
    (1e-1, MOST, "validation", 0.9),
)
"""From, to, colour and opacity."""


def update_ratios(layers: Layers) -> str:
    """Draw every layer's update ratio over the epochs, and that of the last one on a scale.

    The strip below the scale is the key to the colours of the epochs.
    """
    num_layers = len(layers.names)
    ratios = np.clip(layers.ratios, LEAST, MOST * 0.999)  # NaN stays NaN
    height = 0.9 + 0.19 * max(num_layers, 4)
    with drawing(width=6.4, height=height, columns=(5, 4)) as (figure, (map_, scale)):
        _draw_epochs(map_, ratios, layers.epochs)
        _draw_scale(scale, ratios[:, -1])
        names = [
            name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
            for name in layers.names
        ]
        map_.set_yticks(range(num_layers), names)
        scale.set_yticks(range(num_layers), [""] * num_layers)
        for axes in (map_, scale):
            axes.set_ylim(num_layers + _STRIP, -0.6)
            axes.tick_params("y", length=0)
        return to_svg(figure, "update ratio of each layer over epochs")


def _draw_epochs(axes: Axes, ratios: np.ndarray, epochs: np.ndarray) -> None:
    for low, high, color, opacity in _BANDS:
        rows, columns = np.nonzero((ratios >= low) & (ratios < high))
        if len(rows):
            cells = squares(rows, epochs[columns])
            axes.add_patch(PathPatch(cells, facecolor=COLORS[color], alpha=opacity, lw=0))
    for between in range(1, len(ratios)):
        axes.axhline(between - 0.5, color=COLORS["surface"], lw=1.5)
    axes.set(xlim=(epochs.min() - 0.5, epochs.max() + 0.5), xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.grid(visible=False)


def _draw_scale(axes: Axes, last: np.ndarray) -> None:
    axes.set_xscale("log")
    axes.set(xlim=(LEAST, MOST), xlabel="last epoch")
    for low, high, color, opacity in _BANDS:
        axes.fill_between(
            (low, high),
            len(last) - 0.3,
            len(last) + _STRIP,
            color=COLORS[color],
            alpha=opacity,
            lw=0,
        )
    axes.axvline(HEALTHY, color=COLORS["muted"], lw=1, ls=(0, (2, 2)))
    axes.plot(last, range(len(last)), "o", ms=6, color=COLORS["ink"])
    axes.set_xticks([1e-5, HEALTHY, 1e-1], ["1e-5", "1e-3", "1e-1"])
    axes.xaxis.set_minor_locator(NullLocator())
