"""What is checked of series over time: their order, and that no value is missing."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlexpert.data.sequences.timeline import PARTS, Layout, Span
from mlexpert.errors import InputError


def refuse_disorder(times: np.ndarray, part: np.ndarray, span: Span, name: str) -> None:
    """Refuse splits that overlap, and times that repeat."""
    own, parts = times[span.first : span.end], part[span.first : span.end]
    back = np.flatnonzero(parts[1:] < parts[:-1])
    same = np.flatnonzero(own[1:] == own[:-1])
    if len(back) or any(parts[row] != parts[row + 1] for row in same):
        row = int(back[0] if len(back) else same[parts[same] != parts[same + 1]][0])
        pair = sorted({int(parts[row]), int(parts[row + 1])})
        earlier, later = PARTS[pair[0]], PARTS[pair[1]]
        raise InputError(
            f"{called(span)}{later} begins before {earlier} ends (at {own[row + 1]}): splits "
            "follow one another in time, and the history of a part is taken from the part before."
        )
    if len(same):
        row = int(same[0])
        raise InputError(
            f"{called(span)}the time {own[row]} of column {name!r} comes more than once "
            f"({len(same)} repeats in all): keep one row a time, or name the column of the series "
            "with group=."
        )


def whole(
    values: np.ndarray, times: np.ndarray, spans: tuple[Span, ...], layout: Layout, fill: bool
) -> tuple[np.ndarray, list[str]]:
    """Return values without a missing one, and what was filled."""
    infinite = np.argwhere(np.isinf(values))
    if len(infinite):
        row, column = infinite[0]
        raise InputError(f"column {layout.values[column]!r} is infinite at {times[row]}.")
    missing = np.isnan(values)
    if not missing.any():
        return values, []
    if fill:
        values = np.concatenate(
            [pd.DataFrame(values[span.first : span.end]).ffill().to_numpy() for span in spans]
        )
    left = np.argwhere(np.isnan(values))
    if len(left):
        row, column = left[0]
        span = next(one for one in spans if one.first <= row < one.end)
        said = "has no value before it" if fill else "fill='forward' takes the last value before it"
        raise InputError(
            f"{called(span)}column {layout.values[column]!r} has no value at {times[row]} "
            f"({np.isnan(values[:, column]).sum()} are missing in all): {said}, or fill it "
            "yourself."
        )
    count = ", ".join(
        f"{name!r} ({number})"
        for name, number in zip(layout.values, missing.sum(axis=0), strict=True)
        if number
    )
    return values, [f"missing values took the last one before them: {count}"]


def called(span: Span) -> str:
    """Return how a message about a series begins; nothing where there is one alone."""
    return f"series {span.name!r}: " if span.name else ""
