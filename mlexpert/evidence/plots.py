"""The report's figures as inline SVG.

Colours follow the page, text stays text, and equal input gives equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from mlexpert.evidence.curves import PrecisionRecall, Reliability, Roc
from mlexpert.evidence.svg import COLORS, drawing, to_svg

FEWEST_ROWS = 5
"""Rows below which a bin's share of what came true is left out of the calibration curve."""


def learning_curve(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    colors: Mapping[str, str],
    *,
    selected: float | None,
    name: str,
) -> str:
    """Draw values (E,) over epochs (E,).

    Args:
        curves: Label to epochs and values.
        colors: Label to one of the page's colours; a trailing "-" makes the line dashed.
        selected: The epoch whose weights were kept, marked by a vertical line.
        name: What is drawn, on the vertical axis.
    """
    with drawing() as (figure, (axes,)):
        ends: list[tuple[float, str, str]] = []
        for label, (epochs, values) in curves.items():
            color = COLORS[colors[label].rstrip("-")]
            dashed = colors[label].endswith("-")
            marker = "o" if len(epochs) <= 2 else None
            axes.plot(epochs, values, color=color, ls="--" if dashed else "-", marker=marker, ms=4)
            ends.append((float(values[-1]), label, color))
        if selected is not None:
            axes.axvline(selected, color=COLORS["muted"], lw=1, ls=(0, (2, 2)))
            for epochs, values in curves.values():
                at = values[epochs == selected]
                if len(at):
                    axes.plot(selected, at[-1], "o", ms=5, color=COLORS["ink"])
            axes.annotate(
                f"selected: epoch {selected:g}",
                (selected, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 4),
                textcoords="offset points",
                ha=_side(selected, axes.get_xlim()),
                va="bottom",
                fontsize=9,
                color=COLORS["muted"],
            )
        _label_ends(axes, ends)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
        axes.set(xlabel="epoch", ylabel=name)
        return to_svg(figure, f"{name} over epochs")


def precision_recall_curves(
    curves: Sequence[tuple[PrecisionRecall, str]],
    points: Sequence[tuple[str, float, float]],
    *,
    prevalence: float | None,
    title: str,
) -> str:
    """Draw precision over recall; several curves of one colour are faint, and their mean is not.

    Args:
        curves: Each with one of the page's colours.
        points: Label, recall and precision of decision rules.
        prevalence: The precision of guessing, drawn as a line, or None for several classes.
        title: What is drawn, for readers who do not see it.
    """
    grid = np.linspace(0, 1, 201)
    with drawing() as (figure, (axes,)):
        for color in dict.fromkeys(color for _, color in curves):
            own = [curve for curve, name in curves if name == color]
            alpha = 1.0 if len(own) == 1 else max(0.12, 0.6 / len(own) ** 0.5)
            for curve in own:
                recalls, precisions = np.append(0.0, curve.recall), curve.precision
                precisions = np.append(precisions[:1], precisions)
                recalls, precisions = _thin(recalls), _thin(precisions)
                axes.step(
                    recalls,
                    precisions,
                    where="pre",
                    color=COLORS[color],
                    alpha=alpha,
                    lw=2.0 if len(own) == 1 else 0.8,
                )
            if len(own) > 1:
                means = np.mean([_best_precision(curve, grid) for curve in own], axis=0)
                axes.plot(grid, means, color=COLORS[color], lw=2.0)
        if prevalence is not None:
            axes.axhline(prevalence, color=COLORS["muted"], lw=1, ls=(0, (2, 2)))
            color = COLORS["muted"]
            axes.text(0.01, prevalence + 0.015, "guessing", fontsize=9, color=color)
        # Below a falling curve on its right half, above it on its left one.
        _mark_rules(axes, points, above=lambda recall, _: recall <= 0.6)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.03))
        return to_svg(figure, title)


def roc_curves(
    curves: Sequence[tuple[Roc, str]], points: Sequence[tuple[str, float, float]], *, title: str
) -> str:
    """Draw recall over the false positive rate; several of one colour are faint, their mean is not.

    Args:
        curves: Each with one of the page's colours.
        points: Label, false positive rate and recall of decision rules.
        title: What is drawn, for readers who do not see it.
    """
    grid = np.linspace(0, 1, 201)
    with drawing() as (figure, (axes,)):
        axes.plot([0, 1], [0, 1], color=COLORS["muted"], lw=1, ls=(0, (2, 2)))
        axes.text(0.6, 0.56, "guessing", fontsize=9, color=COLORS["muted"], va="top")
        for color in dict.fromkeys(color for _, color in curves):
            own = [curve for curve, name in curves if name == color]
            alpha = 1.0 if len(own) == 1 else max(0.12, 0.6 / len(own) ** 0.5)
            for curve in own:
                rates, recalls = _thin(curve.false_positive_rate), _thin(curve.recall)
                width = 2.0 if len(own) == 1 else 0.8
                axes.plot(rates, recalls, color=COLORS[color], alpha=alpha, lw=width)
            if len(own) > 1:
                means = [np.interp(grid, one.false_positive_rate, one.recall) for one in own]
                axes.plot(grid, np.mean(means, axis=0), color=COLORS[color], lw=2.0)
        # Below a curve that bends up and to the left, and inside of the axes.
        _mark_rules(axes, points, above=lambda rate, recall: recall < 0.1 and rate <= 0.6)
        axes.set(xlabel="false positive rate", ylabel="recall", xlim=(-0.02, 1), ylim=(0, 1.03))
        return to_svg(figure, title)


def calibration(before: Reliability | None, after: Reliability, *, color: str, title: str) -> str:
    """Draw observed over predicted probability, and how many rows are in each bin."""
    with drawing(rows=(3, 1)) as (figure, (upper, lower)):
        upper.plot([0, 1], [0, 1], color=COLORS["muted"], lw=1, ls=(0, (2, 2)))
        shown = [(before, "muted", "before"), (after, color, "after")]
        for curve, name, label in shown:
            if curve is None:
                continue
            filled = curve.counts >= min(FEWEST_ROWS, curve.counts.max())
            predicted, observed = curve.predicted[filled], curve.observed[filled]
            sizes = 12 + 60 * np.sqrt(curve.counts[filled] / curve.counts.max())
            upper.plot(predicted, observed, color=COLORS[name], lw=1.4, label=label)
            upper.scatter(predicted, observed, s=sizes, color=COLORS[name], alpha=0.9, lw=0)
            lower.stairs(curve.counts, curve.edges, color=COLORS[name], lw=1.4)
        upper.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.03), ylabel="came true")
        upper.tick_params(labelbottom=False)
        lower.set_yscale("log")
        lower.set_ylim(0.7, None)
        lower.yaxis.set_minor_locator(NullLocator())
        lower.yaxis.set_major_formatter(FuncFormatter(thousands))
        lower.grid(axis="x", visible=False)
        lower.set(xlim=(-0.02, 1.02), xlabel="predicted probability", ylabel="rows")
        return to_svg(figure, title)


def class_counts(counts: Mapping[str, np.ndarray], names: Sequence[str]) -> str:
    """Draw rows of each class and split on a logarithmic scale.

    Args:
        counts: Split to rows (K,) of each class, most frequent class first.
        names: (K,) of the classes, in the same order.
    """
    with drawing(height=2.9) as (figure, (axes,)):
        num_classes = len(names)
        edges = np.arange(num_classes + 1) + 0.5
        largest = max(int(values.max()) for values in counts.values())
        axes.set_yscale("log")
        width = 0.8 / len(counts)
        for place, (split, values) in enumerate(counts.items()):
            color = COLORS[split]
            if num_classes > 40:  # bars would be hairs
                axes.stairs(values, edges, color=color, lw=1.6)
                continue
            left = np.arange(num_classes) + 0.6 + place * width
            axes.bar(left, values, width, align="edge", color=color, lw=0)
        axes.set(xlim=(0.4, num_classes + 0.6), ylim=(0.7, largest * 1.5))
        if num_classes <= 15:
            length = max(14, 72 // num_classes)
            short = [name if len(name) <= length else f"{name[: length - 1]}…" for name in names]
            axes.set_xticks(np.arange(1, num_classes + 1), short)
            if num_classes > 4:
                axes.tick_params("x", labelrotation=40)
                for label in axes.get_xticklabels():
                    label.set(ha="right", rotation_mode="anchor")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
            axes.set_xlabel("class, most frequent in training first")
        axes.yaxis.set_major_formatter(FuncFormatter(thousands))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(axis="x", visible=False)
        axes.set(ylabel="rows")
        return to_svg(figure, "rows of each class by split")


def confusion_heatmap(shares: np.ndarray, *, color: str) -> str:
    """Draw shares (K, K) of each true class, for more classes than a table holds."""
    with drawing(width=6.4, height=5.8) as (figure, (axes,)):
        mesh = np.where(np.isnan(shares), 0.0, shares)
        size = len(mesh)
        axes.set(xlim=(0.5, size + 0.5), ylim=(size + 0.5, 0.5), aspect="equal")
        # One path for each of eight depths: ten thousand squares would weigh megabytes.
        for low, high, opacity in _DEPTHS:
            rows, columns = np.nonzero((mesh > low) & (mesh <= high))
            if len(rows):
                cells = squares(rows + 1.0, columns + 1.0)
                axes.add_patch(PathPatch(cells, facecolor=COLORS[color], alpha=opacity, lw=0))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=2))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=2))
        axes.set(xlabel="decided class (number)", ylabel="true class (number)")
        return to_svg(figure, "confusion matrix")


_BOUNDS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
_DEPTHS = tuple((low, high, 0.1 + 0.9 * high**0.6) for low, high in pairwise(_BOUNDS))


def squares(rows: np.ndarray, columns: np.ndarray) -> Path:
    """Return squares of side 1 about (N,) points as one path."""
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)])
    vertices = (np.stack([columns, rows], axis=1)[:, None] + corners).reshape(-1, 2)
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(rows)
    return Path(vertices, codes)


def _best_precision(curve: PrecisionRecall, recalls: np.ndarray) -> np.ndarray:
    """Return the best precision at each recall or above, which is comparable between curves."""
    best = np.maximum.accumulate(curve.precision[::-1])[::-1]
    return best[np.minimum(np.searchsorted(curve.recall, recalls - 1e-12), len(best) - 1)]


def _mark_rules(
    axes: Axes,
    points: Sequence[tuple[str, float, float]],
    *,
    above: Callable[[float, float], bool],
) -> None:
    """Mark decision rules at (x, y), each with its name on the side that has room for it.

    Where two are so near that one name would lie on the other, the second is a line further away.
    """
    placed: list[tuple[float, float]] = []
    for (label, x, y), marker in zip(points, "oD", strict=False):
        axes.plot(x, y, marker, ms=7, color=COLORS["ink"], mec=COLORS["surface"])
        crowded = any(abs(x - other) < 0.3 and abs(y - own) < 0.08 for other, own in placed)
        distance = 6 + 12 * crowded
        left, up = x > 0.6, above(x, y)
        axes.annotate(
            label,
            (x, y),
            xytext=(-8 if left else 8, distance if up else -distance),
            textcoords="offset points",
            ha="right" if left else "left",
            va="bottom" if up else "top",
            fontsize=9,
        )
        placed.append((x, y))


def _label_ends(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Write each line's name beside its end, moved apart where two would overlap."""
    low, high = axes.get_ylim()
    step = (high - low) * 0.075
    ends = sorted(ends)
    places: list[float] = []
    for value, _, _ in ends:
        places.append(max([value, *(place + step for place in places[-1:])]))
    for back, place in enumerate(reversed(places)):  # none above the axes, where room is for it
        places[-1 - back] = min(place, high - back * step)
    for place, (_, label, color) in zip(places, ends, strict=True):
        axes.annotate(
            label,
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=color,
        )


def _side(x: float, limits: tuple[float, float]) -> str:
    """Return the alignment that keeps a label at `x` inside the axes."""
    share = (x - limits[0]) / (limits[1] - limits[0])
    return "left" if share < 0.3 else "right" if share > 0.7 else "center"


def _thin(values: np.ndarray, most: int = 600) -> np.ndarray:
    """Return at most about `most` of the points, the last included: a screen shows no more."""
    step = max(1, len(values) // most)
    return np.append(values[:-1:step], values[-1])


def thousands(value: float, _position: int) -> str:
    """Write the number at a tick with commas between the thousands."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
