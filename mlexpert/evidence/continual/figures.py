"""The figures of a stream of tasks: the accuracy matrix, and accuracies over the stream."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from mlexpert.evidence.svg import COLORS, drawing, to_svg

MOST_NUMBERED = 12
"""Tasks up to which each cell of the matrix shows its number."""
MOST_LINES = 10
"""Tasks up to which each line has its name."""
_DEPTHS = 20
_FAINTEST, _STRONGEST = 0.03, 0.62
"""Opacities of a cell: numbers on the strongest one can be read on a light and on a dark page."""


def accuracy_map(
    matrix: np.ndarray, learned: np.ndarray, *, first_task: int, title: str, color: str
) -> str:
    """Draw accuracies (S + 1, T): a row for each moment, from before the training downwards.

    Cells of the moment at which a task had just been learned have a frame. What was not measured
    stays empty.

    Args:
        matrix: (S + 1, T) shares.
        learned: (T,) row by which each task had been learned; those of 1 or more get the frame.
        first_task: The task of row 1.
        title: What is drawn, for readers who do not see it.
        color: One of the page's colours.
    """
    num_rows, num_tasks = matrix.shape
    height = min(0.75 + 0.36 * max(num_rows, 2), 5.0)
    with drawing(height=height) as (figure, (axes,)):
        _draw_cells(axes, matrix, color)
        if num_tasks <= MOST_NUMBERED and num_rows <= MOST_NUMBERED + 1:
            _write_numbers(axes, matrix)
            frame: dict[str, Any] = {"fill": False, "ec": COLORS["ink"], "lw": 1.2}
            for task, row in enumerate(learned):
                if row > 0:
                    axes.add_patch(Rectangle((task - 0.47, row - 0.46), 0.94, 0.92, **frame))
        axes.set(xlim=(-0.5, num_tasks - 0.5), ylim=(num_rows - 0.5, -0.5))
        axes.set_xlabel("accuracy on task")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
        _name_rows(axes, num_rows, first_task)
        axes.tick_params(length=0)
        axes.grid(visible=False)
        return to_svg(figure, title)


def accuracy_curves(
    matrix: np.ndarray,
    learned: np.ndarray,
    average: np.ndarray,
    told: np.ndarray | None,
    *,
    first_task: int,
    color: str,
) -> str:
    """Draw the accuracy on each task from when it was learned on, and the average over the tasks.

    Args:
        matrix: (S + 1, T) shares; S is 2 or more.
        learned: (T,) row by which each task had been learned; less than 0 where it was not.
        average: (S + 1,) over the tasks learned by then.
        told: (S + 1,) the same with the task told, drawn dashed, or None.
        first_task: The task of row 1.
        color: One of the page's colours, of the tasks' lines.
    """
    tasks, moments = np.flatnonzero(learned >= 0), np.arange(len(matrix)) + first_task - 1
    named, start = len(tasks) <= MOST_LINES, 0 if first_task else 1
    with drawing() as (figure, (axes,)):
        for place, task in enumerate(tasks):
            since = learned[task]
            alpha = 0.25 + 0.6 * (place + 1) / len(tasks) if named else 0.4
            style: dict[str, Any] = {"color": COLORS[color], "alpha": alpha, "lw": 1.4, "ms": 3.2}
            marker = "o" if named else None
            axes.plot(moments[since:], matrix[since:, task], marker=marker, **style)
            if named and since:
                _name_start(axes, int(task), moments[since], matrix[since, task])
        if told is not None:
            axes.plot(moments[start:], told[start:], color=COLORS["muted"], ls="--", lw=1.6)
        axes.plot(moments[start:], average[start:], color=COLORS["ink"], lw=2.4)
        lowest = np.nanmin([np.nanmin(line.get_ydata(), initial=1.0) for line in axes.lines])
        floor = 0.0 if lowest < 0.6 else np.floor(10 * lowest - 1) / 10
        axes.set(xlim=(moments[start] - 0.25, moments[-1] + 0.25))
        axes.set(ylim=(floor, 1.0 + 0.09 * (1.0 - floor)), xlabel="after task", ylabel="accuracy")
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
        return to_svg(figure, "accuracy on each task over the stream")


def _draw_cells(axes: Axes, matrix: np.ndarray, color: str) -> None:
    """Draw one path for each depth of colour: a square for each cell would weigh too much."""
    depths = np.where(np.isnan(matrix), -1, np.ceil(np.clip(matrix, 0, 1) * _DEPTHS))
    for depth in range(_DEPTHS + 1):
        columns = [_bars(column, depths[:, column] == depth) for column in range(len(matrix[0]))]
        bars = [bar for column in columns for bar in column]
        if bars:
            opacity = _FAINTEST + (_STRONGEST - _FAINTEST) * (depth / _DEPTHS) ** 1.6
            path = Path.make_compound_path(*bars)
            axes.add_patch(PathPatch(path, facecolor=COLORS[color], alpha=opacity, lw=0))
    if len(matrix) <= 2 * MOST_NUMBERED:
        for row in range(1, len(matrix)):
            axes.axhline(row - 0.5, color=COLORS["surface"], lw=2)
    if matrix.shape[1] <= 2 * MOST_NUMBERED:
        for column in range(1, matrix.shape[1]):
            axes.axvline(column - 0.5, color=COLORS["surface"], lw=2)


def _bars(column: int, chosen: np.ndarray) -> list[Path]:
    """Return a rectangle for each run of chosen rows (S + 1,) of a column."""
    ends = np.flatnonzero(np.diff(chosen, prepend=False, append=False)).reshape(-1, 2) - 0.5
    left, right = column - 0.5, column + 0.5
    return [
        Path([(left, low), (right, low), (right, high), (left, high), (left, low)], closed=True)
        for low, high in ends
    ]


def _write_numbers(axes: Axes, matrix: np.ndarray) -> None:
    size = 9 if matrix.shape[1] <= 6 else 7.5
    for (row, task), share in np.ndenumerate(matrix):
        if not np.isnan(share):
            at: dict[str, Any] = {
                "ha": "center",
                "va": "center",
                "fontsize": size,
                "color": COLORS["ink"],
            }
            axes.text(task, row, f"{100 * share:.1f}", **at)


def _name_rows(axes: Axes, num_rows: int, first_task: int) -> None:
    """Name the moments; of many only some."""
    step = -(-num_rows // (MOST_NUMBERED + 1))
    places = range(0, num_rows, step)
    start = "before" if first_task else "untrained"
    names = [f"after {first_task + row - 1}" if row else start for row in places]
    axes.set_yticks(list(places), names)


def _name_start(axes: Axes, task: int, x: int, y: float) -> None:
    axes.annotate(
        str(task),
        (x, y),
        xytext=(0, 5),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=8,
        color=COLORS["muted"],
    )
