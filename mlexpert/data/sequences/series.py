"""Series of unequal length: what a user may hand in, and how a batch of them looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlexpert.data.batches import RaggedStore
from mlexpert.errors import InputError


def as_series(values: Any, where: str = "row {}") -> np.ndarray:
    """Return series as an object array (N,) of float32 arrays (T_i, C), time first.

    Args:
        values: (N, T) or (N, T, C) numbers, in which NaN behind the end pads a shorter series; or N
            series of unequal length, each (T,) or (T, C): arrays, tensors or lists.
        where: How a message names a row.

    Raises:
        InputError: If a series is missing or empty, has gaps, or has other channels than the first.
    """
    rows = _rows(values)
    out = np.empty(len(rows), dtype=object)
    for number, row in enumerate(rows):
        out[number] = _one(row, where.format(number))
        channels = out[number].shape[1]
        if channels != out[0].shape[1]:
            raise InputError(
                f"{where.format(number)} has {channels} channels and the first has "
                f"{out[0].shape[1]}; series are (steps, channels), time first."
            )
    return out


def _rows(values: Any) -> Sequence[Any]:
    if isinstance(values, Tensor):
        values = values.numpy(force=True)
    if isinstance(values, np.ndarray) and values.dtype != object and values.ndim not in (2, 3):
        raise InputError(
            f"X has shape {values.shape}; series are (rows, steps) or (rows, steps, channels), or "
            "a list of (steps, channels)."
        )
    return list(values)


def _one(row: Any, where: str) -> np.ndarray:
    """Return one series (T, C), without the NaN that pad its end."""
    series = _numbers(row, where)
    series = series[:, None] if series.ndim == 1 else series
    if series.ndim != 2:
        raise InputError(f"{where} has shape {series.shape}; a series is (steps, channels).")
    real = ~np.isnan(series).all(axis=1)
    length = int(real.nonzero()[0][-1]) + 1 if real.any() else 0
    if length == 0:
        raise InputError(f"{where} is an empty series: drop it.")
    series = series[:length]
    if not np.isfinite(series).all():
        step, channel = np.argwhere(~np.isfinite(series))[0].tolist()
        raise InputError(
            f"{where} has no finite number of 32 bits at step {step}, channel {channel}: fill gaps "
            "first (pandas: interpolate()); NaN may only pad its end."
        )
    return series


def _numbers(row: Any, where: str) -> np.ndarray:
    if row is None or isinstance(row, str | bytes | float):  # NaN is how pandas writes a gap
        seen = "missing" if row is None or row != row else f"a {type(row).__name__}"
        raise InputError(f"{where} is {seen}, and no series: remove or replace it.")
    if isinstance(row, Tensor):
        row = row.numpy(force=True)
    try:
        if isinstance(row, np.ndarray) and row.dtype == object:  # of a column of nested lists
            row = [step.tolist() if isinstance(step, np.ndarray) else step for step in row]
        with np.errstate(over="ignore"):  # what is beyond 32 bits is refused
            return np.asarray(row).astype(np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{where} is no series of numbers, with as many channels in every step: {error}. "
            "(Words or names of events: join each row to a text.)"
        ) from error


class SeriesStore(RaggedStore):
    """Series end to end; a batch (B, T, C) is padded with NaN to its longest.

    Args:
        tokens: (S, C) float32, the steps of all series one after another.
        offsets: (N + 1,) where each begins.
    """

    @classmethod
    def of(cls, series: np.ndarray) -> SeriesStore:
        """Return a store of series (N,), each (T_i, C)."""
        lengths = np.fromiter(map(len, series), np.int64, len(series))
        offsets = torch.from_numpy(np.concatenate([[0], lengths.cumsum()]))
        steps = np.concatenate(list(series)) if len(series) else np.empty((0, 1), np.float32)
        return cls(torch.from_numpy(steps), offsets)

    def take(self, index: Tensor) -> Tensor:
        """Return the padded series (B, T, C) at `index`."""
        index = index.to(self.offsets.device)
        starts = self.offsets[index]
        lengths = self.offsets[index + 1] - starts
        place = torch.arange(max(1, int(lengths.max())), device=self.tokens.device)
        inside = place < lengths[:, None]  # (B, T)
        source = (starts[:, None] + place).where(inside, 0)
        return self.tokens[source].masked_fill(~inside.unsqueeze(-1), torch.nan)

    def select(self, rows: Tensor) -> SeriesStore:
        """Return some series, end to end."""
        chosen = super().select(rows)
        return SeriesStore(chosen.tokens, chosen.offsets)

    def to(self, device: torch.device) -> SeriesStore:
        """Return the series on `device`."""
        return SeriesStore(self.tokens.to(device), self.offsets.to(device))
