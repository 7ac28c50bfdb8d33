"""The figures of a regression: predicted against true numbers, and how the errors are spread."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import Affine2D

from mlexpert.evidence.plots import squares, thousands
from mlexpert.evidence.svg import COLORS, drawing, to_svg

MOST_DOTS = 1_500
"""Rows that are drawn one by one; of more, how many fall into each cell."""
ROWS_PER_BIN = 40
"""Rows that each quantile of the errors is taken of, at the least."""
FEWEST_CUT = 200
"""Rows from which on a figure may leave extreme ones out."""
_CELLS = 56
_DEPTHS = 7
_BINS = 41


def predicted_against_true(
    targets: np.ndarray, predictions: np.ndarray, ends: tuple[float, float], *, color: str
) -> str:
    """Draw predicted over true numbers (N,), with the line on which they are equal."""
    with drawing(height=4.2) as (figure, (axes,)):
        axes.set(xlim=ends, ylim=ends, xlabel="true", ylabel="predicted")
        axes.set_aspect("equal")
        _cloud(axes, targets, predictions, color)
        axes.plot(ends, ends, color=COLORS["ink"], lw=1, ls=(0, (3, 3)))
        _few_ticks(axes)
        return to_svg(figure, "predicted against true numbers")


def errors_against_predicted(
    predictions: np.ndarray,
    errors: np.ndarray,
    ends: tuple[float, float],
    limits: tuple[float, float],
    *,
    color: str,
) -> str:
    """Draw errors (N,) over predicted numbers (N,), with quantiles of the errors along the way."""
    with drawing(height=4.2) as (figure, (axes,)):
        axes.set(xlim=ends, ylim=limits, xlabel="predicted", ylabel="predicted less true")
        _cloud(axes, predictions, errors, color)
        axes.axhline(0, color=COLORS["ink"], lw=1, ls=(0, (3, 3)))
        where, quantiles = error_quantiles(predictions, errors)
        if len(where) > 1:
            for low, high, alpha in ((0, 4, 0.13), (1, 3, 0.2)):
                band = quantiles[:, low], quantiles[:, high]
                axes.fill_between(where, *band, color=COLORS["ink"], alpha=alpha, lw=0)
            axes.plot(where, quantiles[:, 2], color=COLORS["ink"], lw=1.6)
        _few_ticks(axes)
        return to_svg(figure, "errors against predicted numbers")


def error_histogram(errors: np.ndarray, limits: tuple[float, float], *, color: str) -> str:
    """Draw how often errors (N,) of each size occur, and their mean."""
    with drawing(height=3.0) as (figure, (axes,)):
        counts, edges = np.histogram(errors, bins=_BINS, range=limits)
        axes.stairs(counts, edges, fill=True, color=COLORS[color], alpha=0.75, lw=0)
        axes.axvline(0, color=COLORS["ink"], lw=1, ls=(0, (3, 3)))
        mean = float(errors.mean())
        if limits[0] < mean < limits[1]:
            axes.plot(mean, 0, "^", ms=7, color=COLORS["ink"], clip_on=False, zorder=5)
        axes.set(xlim=limits, ylim=(0, counts.max() * 1.06 + 1e-9))
        axes.set(xlabel="predicted less true", ylabel="rows")
        axes.grid(axis="x", visible=False)
        _few_ticks(axes)
        return to_svg(figure, "histogram of the errors")


def number_limits(targets: np.ndarray, predictions: np.ndarray) -> tuple[float, float]:
    """Return the ends between which numbers (N,) are drawn.

    Of many rows those are the ends of the true ones, with some room: a single prediction that is
    far off would leave no space for the others.
    """
    low, high = targets.min(), targets.max()
    if len(targets) < FEWEST_CUT or low == high:
        return _padded(min(low, predictions.min()), max(high, predictions.max()), 0.03)
    return _padded(low, high, 0.12)


def error_limits(errors: np.ndarray) -> tuple[float, float]:
    """Return the ends between which errors (N,) are drawn: all but the most extreme 1 % of them."""
    low, high = np.quantile(errors, [0.005, 0.995]) if len(errors) >= FEWEST_CUT else (0.0, 0.0)
    if low == high:
        low, high = errors.min(), errors.max()
    return _padded(min(low, 0.0), max(high, 0.0), 0.08)


def error_quantiles(predictions: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean predictions (B,) of equally many rows each, and quantiles (B, 5) of their errors.

    The quantiles are those of 5, 25, 50, 75 and 95 %. B is at most 20, and each bin has at least
    `ROWS_PER_BIN` rows.
    """
    num_bins = min(20, len(errors) // ROWS_PER_BIN)
    if num_bins == 0:
        return np.empty(0), np.empty((0, 5))
    parts = np.array_split(np.argsort(predictions, kind="stable"), num_bins)
    where = np.array([predictions[part].mean() for part in parts])
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    return where, np.array([np.quantile(errors[part], levels) for part in parts])


def _cloud(axes: Axes, x: np.ndarray, y: np.ndarray, color: str) -> None:
    """Draw points (N,) inside the limits of `axes`, one by one or as the depth of cells."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    inside = (x >= left) & (x <= right) & (y >= low) & (y <= high)
    x, y = x[inside], y[inside]
    if len(x) <= MOST_DOTS:
        # One path of strokes without length, whose round ends are the dots: a mark of their own
        # for each would take four times the bytes.
        ends = np.repeat(np.stack([x, y], axis=1), 2, axis=0)
        path = Path(ends, [Path.MOVETO, Path.LINETO] * len(x))
        path.should_simplify = False
        alpha = 0.8 if len(x) <= 300 else 0.55
        stroke = {"ec": COLORS[color], "lw": 3.6, "capstyle": "round", "alpha": alpha}
        axes.add_patch(PathPatch(path, fc="none", **stroke))
        return
    counts, _, _ = np.histogram2d(y, x, bins=_CELLS, range=((low, high), (left, right)))
    width, height = (right - left) / _CELLS, (high - low) / _CELLS
    to_data = Affine2D().translate(0.5, 0.5).scale(width, height).translate(left, low)
    # Logarithmic, so that the thin edge of the cloud is seen beside its core.
    depths = np.ceil(_DEPTHS * np.log1p(counts) / np.log1p(counts.max())).astype(int)
    for depth in range(1, _DEPTHS + 1):
        rows, columns = np.nonzero(depths == depth)
        if len(rows):
            cells = squares(rows, columns).transformed(to_data)
            patch = PathPatch(cells, facecolor=COLORS[color], alpha=depth / _DEPTHS, lw=0)
            axes.add_patch(patch)


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    pad = share * (high - low) or max(abs(low), 1.0) * share
    return float(low - pad), float(high + pad)


def _few_ticks(axes: Axes) -> None:
    for axis, most in ((axes.xaxis, 5), (axes.yaxis, 6)):
        axis.set_major_locator(MaxNLocator(nbins=most, min_n_ticks=2))
        axis.set_major_formatter(FuncFormatter(thousands))
