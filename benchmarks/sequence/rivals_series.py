"""Classifiers of labelled series, of aeon: ROCKET, and the nearest neighbour under time warping.

Neither is given a choice of settings: ROCKET has its 10,000 kernels, warping has no window.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import peers
from borrowed import Clock
from protocol import ROCKET
from reading import Labelled


def by_aeon(method: str, rows: Labelled, seed: int) -> dict[str, Any]:
    """Train one of them, and return the share of test rows that are wrong."""
    peers.reach()
    if method == ROCKET:
        from aeon.classification.convolution_based import RocketClassifier

        model = RocketClassifier(n_kernels=10_000, random_state=seed)
        longest = max(len(one) for one in (*rows.train[0], *rows.test[0]))
        train, test = (padded(part[0], longest) for part in (rows.train, rows.test))
    else:
        from aeon.classification.distance_based import KNeighborsTimeSeriesClassifier

        model = KNeighborsTimeSeriesClassifier(distance="dtw", n_neighbors=1)
        train, test = (collection(part[0]) for part in (rows.train, rows.test))
    clock = Clock()
    model.fit(train, rows.train[1])
    seconds = clock.lap()
    said = model.predict(test)
    return {
        **{f"loop_{unit}": value for unit, value in seconds.items()},
        "error": float((said != rows.test[1]).mean()),
    }


def padded(series: list[np.ndarray], length: int) -> np.ndarray:
    """Return series (T, C) as (N, C, length): ROCKET takes equal lengths, so zeros follow."""
    out = np.zeros((len(series), series[0].shape[1], length), dtype=np.float64)
    for row, one in zip(out, series, strict=True):
        row[:, : len(one)] = one.T
    return out


def collection(series: list[np.ndarray]) -> Any:
    """Return series (T, C) as aeon has them: (C, T) each, in an array where all are as long."""
    turned = [one.T.astype(np.float64) for one in series]
    return np.stack(turned) if len({one.shape[1] for one in turned}) == 1 else turned
