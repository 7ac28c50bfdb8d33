"""Windows over series: what was seen and what came next, as views of one table of numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlexpert.data.examples import Examples
from mlexpert.data.fingerprint import row_digests
from mlexpert.data.sequences.timeline import PARTS, Span, Timeline
from mlexpert.errors import InputError

_REACH = 100.0
"""Deviations from 0 up to which float32 keeps five digits of a standardised value."""


@dataclass(frozen=True)
class Windows:
    """Some windows of series; a row is one, and nothing of it is copied.

    Attributes:
        timeline: The rows that the windows need, and no others.
        starts: (N,) int64, the first row of each window.
        context: Rows that are seen, L.
        horizon: Rows that are forecast, H.
    """

    timeline: Timeline
    starts: np.ndarray
    context: int
    horizon: int

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, indices: Any) -> Windows:
        return replace(self, starts=self.starts[indices])

    @property
    def width(self) -> int:
        """Rows of a window, L + H."""
        return self.context + self.horizon

    @property
    def groups(self) -> np.ndarray:
        """Numbers (N,) of blocks of `horizon` windows that overlap, for intervals by resampling."""
        firsts = np.array([span.first for span in self.timeline.spans])
        series = np.searchsorted(firsts, self.starts, side="right") - 1
        blocks = (self.starts - firsts[series]) // self.horizon
        return np.unique(np.stack([series, blocks]), axis=1, return_inverse=True)[1].ravel()


def windows_of(timeline: Timeline, part: int, *, context: int, horizon: int) -> Windows:
    """Return the windows whose forecast rows all belong to a part.

    Windows of train lie in train altogether; those of a later part reach back `context` rows into
    the part before, whose rows are then seen and not forecast.

    Args:
        timeline: All rows, with the parts that they belong to.
        part: 0 train, 1 validation, 2 test.
        context: Rows that are seen.
        horizon: Rows that are forecast.

    Raises:
        InputError: If not a single window fits.
    """
    kept, starts, begin, longest = [], [], 0, 0
    for span in timeline.spans:
        own = np.flatnonzero(timeline.parts[span.first : span.end] == part) + span.first
        if not len(own):
            continue
        first = int(own[0]) if part == 0 else max(span.first, int(own[0]) - context)
        length = int(own[-1]) + 1 - first
        longest = max(longest, length)
        if length < context + horizon:
            continue
        kept.append(Span(span.name, first, first + length))
        starts.append(np.arange(begin, begin + length - context - horizon + 1))
        begin += length
    if not kept:
        history = "" if part == 0 else ", with the history before them"
        raise InputError(
            f"{PARTS[part]} has {longest} rows of the longest series{history}; "
            f"context={context} and horizon={horizon} need {context + horizon}: give more rows, a "
            "larger share, or a smaller context or horizon."
        )
    return Windows(timeline.stretches(kept), np.concatenate(starts), context, horizon)


def refuse_short(timeline: Timeline, *, context: int, horizon: int) -> None:
    """Refuse a series in which no window fits.

    Raises:
        InputError: Naming the series and the numbers.
    """
    for span in timeline.spans:
        rows = span.end - span.first
        if rows < context + horizon:
            which = f"series {span.name!r}" if span.name else "the series"
            raise InputError(
                f"{which} has {rows} rows; context={context} and horizon={horizon} need "
                f"{context + horizon}: give more rows or a smaller context or horizon"
                + (", or leave the series out." if span.name else ".")
            )


def digests_of_rows(timeline: Timeline) -> np.ndarray:
    """Return digests (T, 2) of the rows: time, series and values."""
    return row_digests(Examples("tabular", timeline.frame()))


def digests_of_windows(windows: Windows) -> np.ndarray:
    """Return digests (N, 2) of windows: sums of those of their rows, which hold the times."""
    rows = digests_of_rows(windows.timeline)
    sums = np.concatenate([np.zeros((1, 2), rows.dtype), rows.cumsum(axis=0, dtype=rows.dtype)])
    return sums[windows.starts + windows.width] - sums[windows.starts]


class WindowStore:
    """Windows (L + H, C) of one table (T, C), cut out when their batch is due.

    Args:
        values: (T, C).
        starts: (N,) first row of each window.
        width: Rows of a window, L + H.
    """

    in_memory, is_ragged = True, False

    def __init__(self, values: Tensor, starts: Tensor, width: int) -> None:
        self.values, self.starts, self.width = values, starts, width
        self.windows = values.unfold(0, width, 1)  # (T - L - H + 1, C, L + H), the same memory
        self.nbytes = values.nbytes + starts.nbytes

    @classmethod
    def of(cls, windows: Windows) -> WindowStore:
        """Return the store of windows; its table is that of the timeline."""
        values = torch.from_numpy(windows.timeline.values)
        return cls(_narrow(values), torch.from_numpy(windows.starts), windows.width)

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, index: Tensor) -> Tensor:
        """Return the windows (B, L + H, C) at `index`."""
        rows = self.starts[index.to(self.starts.device)]
        return self.windows[rows].transpose(1, 2)

    def longest(self, count: int) -> Tensor:
        """Return the first rows: all are of one length."""
        return torch.arange(min(count, len(self)))

    def select(self, rows: Tensor) -> WindowStore:
        """Return some windows of the same table."""
        return WindowStore(self.values, self.starts[rows], self.width)

    def to(self, device: torch.device) -> WindowStore:
        """Return the store with its table on `device`."""
        return WindowStore(self.values.to(device), self.starts.to(device), self.width)


def _narrow(values: Tensor) -> Tensor:
    """Return values (T, C) as float32, unless a column lies too far from 0 for its deviation."""
    spread = values.std(dim=0, correction=0)
    reach = values.abs().amax(dim=0)
    return values.float() if (reach[spread > 0] < _REACH * spread[spread > 0]).all() else values
