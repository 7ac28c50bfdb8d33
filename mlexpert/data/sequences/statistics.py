"""What is known of training rows that are sequences: vocabularies, lengths, scales, calendars."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WordStats:
    """Sentences of the training rows: their words and characters.

    Ids 0 to 1 stand for padding and for what was not seen; words and characters follow from 2 on.
    """

    words: tuple[str, ...]
    """Words that have an id, most frequent first."""
    characters: tuple[str, ...]
    """Characters that have an id, most frequent first."""
    length_median: int
    """Words of a sentence."""
    length_max: int


@dataclass(frozen=True)
class SeriesStats:
    """Series of the training rows: channels, lengths in steps, and moments over all steps."""

    channels: int
    length_median: int
    length_p99: int
    length_max: int
    mean: tuple[float, ...]
    """Of each channel."""
    std: tuple[float, ...]


@dataclass(frozen=True)
class TimelineStats:
    """Series over time of the training rows: which columns there are, how often, on what scale."""

    time: str
    """The column of times."""
    series: str | None
    """The column that names the series; None where there is one alone."""
    targets: tuple[str, ...]
    """The columns that are forecast, C."""
    past: tuple[str, ...]
    """Covariates known up to now alone."""
    future: tuple[str, ...]
    """Covariates known ahead."""
    frequency: str
    """Step from one time to the next, as pandas writes it; empty where times are numbers."""
    step: float
    """The same in seconds, or in the unit of the numbers."""
    period: int
    """Steps of a season; 1 where there is none."""
    mean: tuple[float, ...]
    """Of each column, in the order targets, past, future."""
    std: tuple[float, ...]
    names: tuple[str, ...] = ()
    """The series' names; empty where there is one alone."""
