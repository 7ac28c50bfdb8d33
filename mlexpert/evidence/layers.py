"""The layers of a network over the epochs: how far each one's weights moved in a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Layers:
    """Update ratios of L layers, in the model's order, over E epochs.

    Attributes:
        names: (L,) of them.
        epochs: (E,) numbers of the epochs.
        ratios: (L, E) norm of an epoch's first step over that of the weights; NaN where the weights
            were all zero or had no gradient.
        weights: (L, E) norms of the weights before that step.
        last_rows: As they were written in the last epoch, with the gradient's norm.
    """

    names: tuple[str, ...]
    epochs: np.ndarray
    ratios: np.ndarray
    weights: np.ndarray
    last_rows: tuple[Mapping[str, Any], ...] = ()

    def at_most(self, most: int) -> Layers:
        """Return the layers, or the parts of the network that hold them where they are more.

        A part is named by the first few words of its layers' names, as many as leave at most `most`
        parts. Its ratio is that of all its weights together.
        """
        words = [name.split(".") for name in self.names]
        for depth in range(max(map(len, words)), 0, -1):
            parts = [".".join(name[:depth]) for name in words]
            if len(set(parts)) <= most:
                return self._merged(parts)
        firsts = list(dict.fromkeys(name[0] for name in words))[: most - 1]
        return self._merged([name[0] if name[0] in firsts else "all others" for name in words])

    def _merged(self, parts: Sequence[str]) -> Layers:
        names = tuple(dict.fromkeys(parts))
        if len(names) == len(self.names):
            return self
        member = np.array([[part == name for part in parts] for name in names], dtype=float)
        known = ~np.isnan(self.ratios)
        squares = np.where(known, self.weights, 0.0) ** 2
        moved = member @ (np.where(known, self.ratios, 0.0) ** 2 * squares)
        total = member @ squares
        ratios = np.sqrt(np.divide(moved, total, out=np.full(total.shape, np.nan), where=total > 0))
        return Layers(names, self.epochs, ratios, np.sqrt(total))


def read_layers(rows: Sequence[Mapping[str, Any]]) -> Layers | None:
    """Return the layers of a run's `health.jsonl`, or None where it says nothing of any.

    Args:
        rows: Its lines; of several for one epoch the last one holds.
    """
    by_epoch = {row["epoch"]: row["layers"] for row in rows if row.get("layers") and "epoch" in row}
    if not by_epoch:
        return None
    by_epoch = dict(sorted(by_epoch.items()))
    names = tuple(dict.fromkeys(one["layer"] for rows in by_epoch.values() for one in rows))
    place = {name: number for number, name in enumerate(names)}
    ratios, weights = np.full((2, len(names), len(by_epoch)), np.nan)
    for column, layers in enumerate(by_epoch.values()):
        for one in layers:
            ratios[place[one["layer"]], column] = _number(one.get("update_ratio"))
            weights[place[one["layer"]], column] = _number(one.get("weight_norm"))
    return Layers(names, np.array(list(by_epoch)), ratios, weights, tuple(layers))


def _number(value: float | None) -> float:
    return np.nan if value is None else value
