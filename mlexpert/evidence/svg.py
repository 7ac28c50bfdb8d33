"""matplotlib figures as elements of a page: its colours, its font, the same bytes each time."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# matplotlib knows no CSS variables, so each one is drawn in a colour that stands for it.
_VARIABLES = (
    "ink", "muted", "grid", "surface", "train", "validation", "test", "many", "medium", "few",
)  # fmt: skip
COLORS = {name: f"#00fe{number:02x}" for number, name in enumerate(_VARIABLES)}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class may be named "$"
    "font.size": 10.0,
    "axes.titlesize": 10.0,
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "text.color": COLORS["ink"],
    "axes.labelcolor": COLORS["muted"],
    "axes.edgecolor": COLORS["grid"],
    "xtick.color": COLORS["grid"],
    "ytick.color": COLORS["grid"],
    "xtick.labelcolor": COLORS["muted"],
    "ytick.labelcolor": COLORS["muted"],
    "grid.color": COLORS["grid"],
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "lines.linewidth": 1.8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
_WIDE, _HIGH = 5.0, 3.4
"""Inches: half of the page's width, so that a phone shows a figure at about its own size."""


@contextmanager
def drawing(
    *,
    width: float = _WIDE,
    height: float = _HIGH,
    rows: tuple[int, ...] = (1,),
    columns: tuple[int, ...] = (1,),
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Provide a figure with one axes for each of `rows` and `columns`, in the page's style.

    Args:
        width: Inches.
        height: Inches.
        rows: Relative height of each row of axes, from the top.
        columns: Relative width of each column, from the left.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever a user set for figures of their own
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(
            len(rows), len(columns), height_ratios=rows, width_ratios=columns, squeeze=False
        )
        yield figure, list(axes.ravel())


def to_svg(figure: Figure, title: str) -> str:
    """Return the figure as an element of a page: no header, the page's colours and font."""
    file = io.StringIO()
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": title}):
        # Glyphs that matplotlib's own font lacks are the browser's to draw.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    body = file.getvalue()
    body = body[body.index("</defs>") + len("</defs>") :]  # what stands before is no drawing
    body = re.sub(r"<[^>]*>", lambda tag: _clean(tag[0]), body)
    width, height = (72 * inches for inches in figure.get_size_inches())
    return (
        f'<svg role="img" aria-label="{html.escape(title)}" viewBox="0 0 {width:g} {height:g}" '
        f'style="--natural: {width * 4 / 3:.0f}px">{body}'
    )


def _clean(tag: str) -> str:
    for pattern, replacement in _CLEANING:
        tag = pattern.sub(replacement, tag)
    for name, stand_in in COLORS.items():
        tag = tag.replace(stand_in, f"var(--{name})")
    return tag


_CLEANING = (
    (re.compile(r'<g id="[^"]*"'), "<g"),
    (re.compile(r"font-family: [^;\"]*(; )?"), ""),
    (re.compile(r' transform="rotate\(-0 [^"]*"'), ""),
    (re.compile(r"xlink:href"), "href"),
    (re.compile(r"(\d+\.\d)\d{2,}"), r"\1"),
    (re.compile(r"\s*\n\s*"), " "),
)
"""Names that would repeat in a page, matplotlib's fonts, and less than a tenth of a point."""
