"""The figures of attacks: accuracy over epsilon, the loss about an input, and pictures."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mlexpert.evidence.example_sections import CRISP_BELOW, LARGEST_SIDE
from mlexpert.evidence.robustness.record import ShareRecord
from mlexpert.evidence.svg import COLORS, drawing, to_svg

_LEVELS, _OPACITY = 8, 0.16
"""Contours of the loss at the most, and how much each one darkens what lies above it."""
_FACTORS = (1, 1.5, 2, 3, 4, 5, 8, 10, 15, 20, 30, 50, 100, 200, 500, 1000)
_DASHES = (0, (2, 2))


def accuracy_over_epsilon(
    sweep: np.ndarray,
    *,
    chance: float,
    epsilon: float,
    label: str,
    worst: ShareRecord,
    unit: str,
    color: str,
) -> str:
    """Draw accuracy over the radius of the attack, and the worst case at the radius of the record.

    Args:
        sweep: (S, 2) epsilon and accuracy.
        chance: Accuracy of guessing.
        epsilon: The radius that all attacks were run at.
        label: How that radius is written.
        worst: What stood after all attacks.
        unit: What epsilon counts.
        color: One of the page's colours.
    """
    with drawing() as (figure, (axes,)):
        axes.axhline(chance, color=COLORS["muted"], lw=1, ls=_DASHES)
        axes.axvline(epsilon, color=COLORS["muted"], lw=1, ls=_DASHES)
        axes.plot(sweep[:, 0], sweep[:, 1], color=COLORS[color], marker="o", ms=3.6)
        if worst.interval:
            axes.plot([epsilon] * 2, worst.interval, color=COLORS["ink"], lw=1.6)
        axes.plot(epsilon, worst.accuracy, "D", ms=6.5, color=COLORS["ink"], mec=COLORS["surface"])
        end = max(sweep[-1, 0], epsilon)
        axes.set(xlim=(-0.02 * end, 1.04 * end), ylim=(-0.03, 1.04))
        _note(axes, f"guessing {chance:.2g}", (end, chance), ha="right", place=(0, 4))
        side = "left" if epsilon < 0.6 * end else "right"
        away = 5 if side == "left" else -5
        _note(axes, f"ε = {label}", (epsilon, 1.0), ha=side, place=(away, 0))
        axes.set(xlabel=f"ε{f' ({unit})' if unit else ''}", ylabel="accuracy")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        return to_svg(figure, "accuracy over the size of the attack")


def loss_landscape(losses: np.ndarray, span: float, *, color: str) -> str:
    """Draw losses (R, C) about an input, from -`span` to `span` each way: darker is higher."""
    up, along = (np.linspace(-span, span, number) for number in losses.shape)
    low, high = float(losses.min()), float(losses.max())
    levels = [one for one in MaxNLocator(_LEVELS).tick_values(low, high) if low < one < high]
    with drawing(height=3.9) as (figure, (axes,)):
        axes.set(xlim=(-span, span), ylim=(-span, span), aspect="equal")
        axes.axhspan(-span, span, color=COLORS[color], alpha=_OPACITY / 3, lw=0)
        for level in levels:  # one upon the other, so that no seam shows between two
            above = [level, high + 1]
            axes.contourf(along, up, losses, levels=above, colors=COLORS[color], alpha=_OPACITY)
        if levels:
            lines = axes.contour(along, up, losses, levels=levels, colors=COLORS["ink"])
            lines.set(linewidth=0.6, alpha=0.55)
            axes.clabel(lines, fmt="%.3g", fontsize=8, colors=COLORS["ink"], inline_spacing=2)
        axes.plot(0, 0, "+", ms=10, mew=1.6, color=COLORS["ink"])
        axes.grid(visible=False)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=5, symmetric=True))
        axes.set(xlabel="along the gradient, ε", ylabel="along a random direction, ε")
        return to_svg(figure, "loss about an input")


def magnification(clean: np.ndarray, adversarial: np.ndarray) -> float:
    """Return by how much the largest difference of two (P, C, H, W) can grow and still be shown."""
    largest = float(np.abs(adversarial - clean).max(initial=0.0))
    if not largest > 0 or not math.isfinite(largest):
        return 1.0
    return max(factor for factor in _FACTORS if factor == 1 or factor * largest <= 0.5 + 1e-6)


def difference(clean: np.ndarray, adversarial: np.ndarray, factor: float) -> np.ndarray:
    """Return what was added to a picture (C, H, W), magnified, about a middle grey of 0.5."""
    return 0.5 + factor * (adversarial - clean)


def data_uri(picture: np.ndarray) -> tuple[str, bool]:
    """Return a picture (C, H, W) of 0 to 1 as a data URI, and whether it is to be drawn crisp."""
    from PIL import Image

    values = np.nan_to_num(picture).clip(0, 1) * 255
    pixels = np.round(values).astype(np.uint8).transpose(1, 2, 0)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    crisp = max(image.size) < CRISP_BELOW
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}", crisp


def _note(
    axes: Axes, text: str, at: tuple[float, float], *, ha: str, place: tuple[float, float]
) -> None:
    axes.annotate(
        text,
        at,
        xytext=place,
        textcoords="offset points",
        ha=ha,
        va="bottom",
        fontsize=9,
        color=COLORS["muted"],
    )
