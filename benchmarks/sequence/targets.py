"""What was to be reached, and whether the lines show that it was: met, missed or not measured.

A target is met only where every seed, fold or round that it rests on is there. Errors of forecasts
are compared with published ones at the three digits that these have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import pandas as pd
from protocol import (
    CLASSIFIER,
    DLINEAR,
    DTW,
    FP32,
    HELD_SPEAKERS,
    LOOP,
    MODERN,
    NANOGPT,
    NLINEAR,
    PATCHTST,
    ROCKET,
    SOLVED,
    SOLVED_CLASSIFIER,
    SSD,
    TAGGER,
    TASKS,
)


@dataclass(frozen=True)
class Bound:
    """What the mean of a figure of a method over its seeds has to lie in.

    Attributes:
        task: Where.
        method: Whose.
        key: Of the line.
        low: At least; None: no limit.
        high: At most; None: no limit.
        scale: The figure is shown, and compared, times this.
        digits: After the point, at which it is compared.
        words: What it is.
    """

    task: str
    method: str
    key: str
    low: float | None = None
    high: float | None = None
    scale: float = 1.0
    digits: int = 4
    words: str = ""

    @property
    def wanted(self) -> str:
        """In words."""
        if self.low is not None and self.high is not None:
            limit = f"{self.low:g} to {self.high:g}"
        else:
            limit = f"at most {self.high:g}" if self.low is None else f"at least {self.low:g}"
        return f"{TASKS[self.task].title}, `{self.method}`: {self.words} {limit}"

    def holds(self, found: float) -> bool:
        """Return whether a figure is on the right side."""
        found = round(found, self.digits)
        return (self.low is None or found >= self.low) and (self.high is None or found <= self.high)


def _mse(task: str, method: str, *limits: float) -> Bound:
    low, high = limits if len(limits) == 2 else (None, limits[0])
    return Bound(task, method, "mse", low, high, digits=3, words="MSE")


def _share(task: str, method: str, key: str, low: float, words: str) -> Bound:
    return Bound(task, method, key, low, scale=100.0, digits=2, words=words)


BOUNDS = (
    Bound("tiny-shakespeare", NANOGPT, "loss", high=1.90, words="loss of the full pass"),
    Bound("tiny-shakespeare", MODERN, "loss", high=1.60, words="loss of the full pass"),
    _mse("etth1-96", DLINEAR, 0.369, 0.381),
    _mse("etth1-96", NLINEAR, 0.367, 0.379),
    _mse("etth1-96", PATCHTST, 0.375),
    _mse("etth2-96", NLINEAR, 0.272, 0.284),
    _mse("etth1-96", SOLVED, 0.374),
    _mse("etth1-192", SOLVED, 0.405),
    _mse("etth2-96", SOLVED, 0.274),
    _mse("etth2-192", SOLVED, 0.339),
    *(
        _share(task, method, "accuracy", least, what)
        for task, least, what in (
            ("fsdd", 98.5, "right, %,"),
            (HELD_SPEAKERS, 88.0, "right, %, mean over speakers,"),
        )
        for method in (SOLVED_CLASSIFIER, CLASSIFIER)
    ),
    _share("ud-ewt", TAGGER, "accuracy", 94.5, "right words, %,"),
    _share("wnut-17", TAGGER, "entity_f1", 25.0, "F1 of entities, %,"),
    Bound("mixers", SSD, "of_attention", high=1.2, digits=2, words="times the SDPA block's time,"),
)
SPEEDS = {"speed-128": 1.3, "speed-384": 2.0}
"""Times the CPU seconds of ours that the rewritten loop has to take."""
LOSS_CHANGE = 0.02
MOST_CPU, PARAMETERS_APART = 1.3, 0.01
"""Of the modern model beside nanoGPT; a norm's weights or a position more are no other size."""
POINTS_OF_ROCKET = 1.0
CACHE, LOGITS = 5.0, 1e-5


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
    own = [
        *_modern(frame),
        *(target for task, least in SPEEDS.items() for target in _speed(frame, task, least)),
        *_series(frame),
        *_generation(frame),
    ]
    return [*(_bound(frame, bound) for bound in BOUNDS), *own]


def _bound(frame: pd.DataFrame, bound: Bound) -> Target:
    found = bound.scale * values(frame, bound.task, bound.method, bound.key)
    if not len(found):
        return Target(bound.wanted, "", None)
    shown = 2 if bound.scale > 1 else 4
    spread = f" ± {found.std():.{shown}f}" if len(found) > 1 else ""
    text = f"{found.mean():.{shown}f}{spread}, n = {len(found)}"
    met = bool(bound.holds(found.mean()))
    return Target(bound.wanted, text, met if _is_all(found, bound.task, bound.method) else None)


def _modern(frame: pd.DataFrame) -> list[Target]:
    task, title = "tiny-shakespeare", TASKS["tiny-shakespeare"].title
    cpu = _ratios(frame, task, MODERN, NANOGPT, "loop_cpu_seconds")
    size = _ratios(frame, task, MODERN, NANOGPT, "parameters")
    return [
        _judged(
            f"{title}, `{MODERN}`: at most {MOST_CPU:g} times the CPU seconds of `{NANOGPT}`",
            cpu,
            task,
            lambda found: found.median() <= MOST_CPU,
        ),
        _judged(
            f"{title}, `{MODERN}`: as many parameters as `{NANOGPT}`, to {PARAMETERS_APART:.0%}",
            size,
            task,
            lambda found: bool(((found - 1).abs() <= PARAMETERS_APART).all()),
            digits=4,
        ),
    ]


def _speed(frame: pd.DataFrame, task: str, least: float) -> list[Target]:
    title = TASKS[task].title
    faster = _ratios(frame, task, LOOP, NANOGPT, "loop_cpu_seconds")
    auto, plain = (values(frame, task, name, "loss") for name in (NANOGPT, FP32))
    apart = (auto - plain).abs().dropna()
    return [
        _judged(
            f"{title}: at least {least:g} times as fast as {LOOP}",
            faster,
            task,
            lambda found: round(found.median(), 2) >= least,
        ),
        _judged(
            f"{title}: a loss within {LOSS_CHANGE:g} of fp32's",
            apart,
            task,
            lambda found: found.max() <= LOSS_CHANGE,
            digits=4,
        ),
    ]


def _series(frame: pd.DataFrame) -> list[Target]:
    found = []
    for method, (rival, more) in product(
        (SOLVED_CLASSIFIER, CLASSIFIER), ((ROCKET, POINTS_OF_ROCKET), (DTW, 0.0))
    ):
        both = pd.concat(
            {who: values(frame, "ucr", who, "error") for who in (method, rival)}, axis=1
        ).dropna()
        limit = f"at most {rival}'s and {more:g} point" if more else f"less than {rival}'s"
        wanted = f"{TASKS['ucr'].title}, `{method}`: mean error, %, {limit}"
        if both.empty:
            found.append(Target(wanted, "", None))
            continue
        ours, theirs = 100 * both.mean()
        apart = round(ours - theirs, 9)
        met = apart <= more if more else apart < 0
        text = f"{ours:.2f} beside {theirs:.2f}, {len(both)} sets"
        whole = len(both) >= TASKS["ucr"].methods[method]
        found.append(Target(wanted, text, bool(met) if whole else None))
    return found


def _generation(frame: pd.DataFrame) -> list[Target]:
    task, title = "generation", TASKS["generation"].title
    ratio, apart = (values(frame, task, MODERN, key) for key in ("ratio", "difference"))
    return [
        _judged(
            f"{title}, `{MODERN}`: at least {CACHE:g} times as fast",
            ratio,
            task,
            lambda found: found.median() >= CACHE,
        ),
        _judged(
            f"{title}, `{MODERN}`: logits equal to {LOGITS:g}",
            apart,
            task,
            lambda found: found.max() <= LOGITS,
            digits=7,
        ),
    ]


def _judged(
    wanted: str,
    found: pd.Series,
    task: str,
    holds: Callable[[pd.Series], bool],
    digits: int = 2,
) -> Target:
    """Return a target on rounds of a task, of which all have to be there."""
    if not len(found):
        return Target(wanted, "", None)
    spread = f"({found.min():.{digits}f} to {found.max():.{digits}f})"
    text = f"{found.median():.{digits}f} {spread}, {len(found)} rounds"
    whole = len(found) >= max(TASKS[task].methods.get(name, 0) for name in (MODERN, NANOGPT))
    return Target(wanted, text, bool(holds(found)) if whole else None)


def _is_all(found: pd.Series, task: str, method: str) -> bool:
    return len(found) >= TASKS[task].methods[method]


def _ratios(frame: pd.DataFrame, task: str, above: str, below: str, key: str) -> pd.Series:
    """Return by seed a figure of one method over that of another."""
    a, b = (values(frame, task, name, key) for name in (above, below))
    return (a / b).dropna()


def values(frame: pd.DataFrame, task: str, method: str, key: str) -> pd.Series:
    """Return a figure of a method on a task by seed; empty where there is none."""
    if not len(frame) or key not in frame:
        return pd.Series(dtype=float)
    lines = frame[(frame["task"] == task) & (frame["method"] == method)]
    return lines.set_index("seed")[key].astype(float).dropna()
