"""Series over time as one table of numbers: which column is what, and where each series lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

PARTS = ("train", "validation", "test")
"""By their numbers."""


@dataclass(frozen=True)
class Span:
    """Where the rows of a series lie: from `first` up to, not including, `end`."""

    name: str
    first: int
    end: int


@dataclass(frozen=True)
class Layout:
    """Which column is what.

    Attributes:
        time: The times.
        series: What names the series; None where there is one alone.
        targets: The columns that are forecast.
        past: Covariates known up to now alone.
        future: Covariates known ahead.
        frequency: Step between times, as pandas writes it; empty where times are numbers.
        step: The same in seconds, or in the unit of the numbers.
    """

    time: str
    series: str | None
    targets: tuple[str, ...]
    past: tuple[str, ...]
    future: tuple[str, ...]
    frequency: str = ""
    step: float = 1.0

    @property
    def values(self) -> tuple[str, ...]:
        """The columns of numbers, C in all: targets, past and future covariates."""
        return (*self.targets, *self.past, *self.future)


@dataclass(frozen=True)
class Timeline:
    """All rows of all series, one series after the other, each in the order of time.

    Attributes:
        layout: Which column is what.
        spans: Where each series lies.
        times: (T,) times in UTC, or numbers.
        values: (T, C) float64, in the order of `layout.values`.
        parts: (T,) int8, the part of each row as the user divided them: 0 train, 1 validation, 2
            test; 0 where they are undivided.
        notes: What the user should know about how these were read.
    """

    layout: Layout
    spans: tuple[Span, ...]
    times: np.ndarray
    values: np.ndarray
    parts: np.ndarray
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.times)

    def stretches(self, spans: Sequence[Span]) -> Timeline:
        """Return some rows of some series; of a single series they share the memory of these."""
        places, end = [], 0
        for span in spans:
            places.append(Span(span.name, end, end + span.end - span.first))
            end = places[-1].end
        if len(spans) == 1:
            rows: Any = slice(spans[0].first, spans[0].end)
        else:
            rows = np.concatenate([np.arange(span.first, span.end) for span in spans])
        return replace(
            self,
            spans=tuple(places),
            times=self.times[rows],
            values=self.values[rows],
            parts=self.parts[rows],
        )

    def frame(self) -> pd.DataFrame:
        """Return the rows as a table, as a user would hand them in."""
        table = pd.DataFrame({self.layout.time: self.times})
        if self.layout.series is not None:
            names = [span.name for span in self.spans]
            table[self.layout.series] = np.repeat(
                names, [one.end - one.first for one in self.spans]
            )
        return pd.concat([table, pd.DataFrame(self.values, columns=self.layout.values)], axis=1)
