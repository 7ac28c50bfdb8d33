"""What was to be reached, and whether the lines show that it was: met, missed or not measured.

A target is met only where every seed or round that it rests on is there.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from protocol import DERPP, ER, EWC, ICARL, JOINT, LWF, NAIVE, OURS, SI, TASKS
from speed import PAIRS, ROUNDS, SPEED

MOST_OF_LOOP, TIMES_AS_FAST = 1.10, 2.0


@dataclass(frozen=True)
class Band:
    """Between which accuracies, in per cent, the mean over the seeds has to be."""

    task: str
    method: str
    wanted: str
    low: float = 0.0
    high: float = 100.0


def _about(task: str, method: str, middle: float, width: float) -> Band:
    return Band(task, method, f"{middle:g} ± {width:g}", middle - width, middle + width)


def _least(task: str, method: str, low: float) -> Band:
    return Band(task, method, f"at least {low:g}", low=low)


BANDS = (
    _about("fast-bar", NAIVE, 19.5, 0.6),
    _least("fast-bar", ER, 88),
    _least("fast-bar", DERPP, 92),
    _least("fast-bar", JOINT, 95.5),
    _about("split-mnist-class", NAIVE, 19.9, 0.3),
    _about("split-mnist-class", ER, 88.8, 1.0),
    _about("split-mnist-class", JOINT, 98.2, 0.3),
    _about("split-mnist-class", ICARL, 92.5, 1.0),
    Band("split-mnist-class", EWC, "at most 25", high=25),
    Band("split-mnist-class", SI, "at most 25", high=25),
    _least("split-mnist-class", OURS, 93),
    _about("split-mnist-domain", ER, 93.8, 1.0),
    _about("split-mnist-domain", NAIVE, 60, 6),
    *(_least("split-mnist-task", method, 98.5) for method in (EWC, SI, LWF)),
)


@dataclass(frozen=True)
class Target:
    """A target, what was found, and its state; `met` is None where it is not measured."""

    wanted: str
    found: str
    met: bool | None

    @property
    def state(self) -> str:
        """In words."""
        return "not measured" if self.met is None else "met" if self.met else "**missed**"


def targets(frame: pd.DataFrame) -> list[Target]:
    """Return all targets, given the lines of all tasks."""
    return [
        *(_accuracy(frame, band) for band in BANDS),
        *(_against_loop(frame, own) for own in PAIRS),
        *(_against_stock(frame, own) for own in PAIRS),
    ]


def _accuracy(frame: pd.DataFrame, band: Band) -> Target:
    found, seeds = 100 * values(frame, band.task, band.method), TASKS[band.task].methods
    wanted = f"{TASKS[band.task].title}: `{band.method}` {band.wanted} %"
    if not len(found):
        return Target(wanted, "", None)
    spread = f" ± {found.std():.2f}" if len(found) > 1 else ""
    text = f"{found.mean():.2f}{spread}, n = {len(found)}"
    is_all = len(found) >= seeds[band.method]
    return Target(wanted, text, bool(band.low <= found.mean() <= band.high) if is_all else None)


def _against_loop(frame: pd.DataFrame, own: str) -> Target:
    wanted = f"Speed, `{own}`: at most {MOST_OF_LOOP:.2f} times the CPU seconds of a loop by hand"
    return _ratio(wanted, 1 / ratios(frame, own, PAIRS[own][0]), lambda r: r <= MOST_OF_LOOP)


def _against_stock(frame: pd.DataFrame, own: str) -> Target:
    wanted = f"Speed, `{own}`: at least {TIMES_AS_FAST:g} times as fast as Avalanche as it comes"
    return _ratio(wanted, ratios(frame, own, PAIRS[own][-1]), lambda r: r >= TIMES_AS_FAST)


def _ratio(wanted: str, found: pd.Series, holds) -> Target:
    if not len(found):
        return Target(wanted, "", None)
    text = f"{found.median():.2f} times ({found.min():.2f} to {found.max():.2f})"
    met = bool(holds(round(found.median(), 2))) if len(found) >= ROUNDS else None
    return Target(wanted, f"{text}, {len(found)} rounds", met)


def ratios(frame: pd.DataFrame, own: str, rival: str) -> pd.Series:
    """Return by round the CPU seconds of a rival over those of ours."""
    ours, theirs = (values(frame, SPEED, name, "cpu_seconds") for name in (own, rival))
    return (theirs / ours).dropna()


def values(frame: pd.DataFrame, task: str, method: str, key: str = "accuracy") -> pd.Series:
    """Return a figure of a method on a task by seed; empty where there is none."""
    if not len(frame) or key not in frame:
        return pd.Series(dtype=float)
    lines = frame[(frame["task"] == task) & (frame["method"] == method)]
    return lines.set_index("seed")[key].astype(float).dropna()
