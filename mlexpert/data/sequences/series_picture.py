"""A small picture of a series: a line for each channel, on one scale."""

from __future__ import annotations

import io

import numpy as np

WIDTH, HEIGHT, MARGIN = 240, 120, 6
MOST_CHANNELS = 6
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Told apart by people who do not see all colours (Okabe and Ito 2008)."""


def series_picture(series: np.ndarray) -> bytes:
    """Return a PNG of a series (T, C), of 240 x 120 pixels; of many channels, the first six."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    shown = series[:, :MOST_CHANNELS].astype(np.float64)
    low, high = shown.min(), shown.max()
    across = np.linspace(MARGIN, WIDTH - MARGIN, len(shown))
    share = (shown - low) / (high - low) if high > low else np.full_like(shown, 0.5)
    down = HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)
    for channel in reversed(range(shown.shape[1])):
        points = list(zip(across.tolist(), down[:, channel].tolist(), strict=True))
        if len(points) == 1:  # a dot: one point is no line
            (x, y) = WIDTH / 2, points[0][1]
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=COLORS[channel])
        else:
            draw.line(points, fill=COLORS[channel], width=1)
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()
