"""What was to be reached, and whether the lines show that it was: met, missed or not measured.

A target is met only where every seed or round that it rests on is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from foreign import ATTACKS, FOREIGN, OWN
from protocol import AWP, FAST, LONG, OURS, TASKS
from speed import OURS as OUR_SPEED
from speed import SPEEDS, STANDARD

CLEAN, PGD, AUTO, CPU = "clean", "pgd", "auto", "loop_cpu_seconds"
WORDS = {
    CLEAN: "clean accuracy at least {:g} %",
    PGD: "PGD-50 x 10 leaves at least {:g} %",
    AUTO: "our auto_attack leaves at least {:g} %",
    CPU: "training in at most {:g} CPU s",
    "train_wall_seconds": "training in at most {:g} s",
    "last_less_best": "the last epoch at most {:g} points below the best",
}
SHARES = (CLEAN, PGD, AUTO, "last_less_best")
POINTS_OF_VERDICT, POINTS_OF_FOREIGN = 0.5, 1.0


@dataclass(frozen=True)
class Bound:
    """What a figure of a method has to be, as the mean over its seeds; in per cent for a share."""

    task: str
    method: str
    key: str
    limit: float

    @property
    def wanted(self) -> str:
        """In words."""
        return f"{TASKS[self.task].title}, `{self.method}`: {WORDS[self.key].format(self.limit)}"

    def holds(self, found: float) -> bool:
        """Return whether a figure is on the right side."""
        if self.key == "last_less_best":
            return -found <= self.limit
        return found >= self.limit if self.key in SHARES else found <= self.limit


RESNET = "cifar-10, ResNet-18"
BOUNDS = (
    Bound("mnist", OURS, CLEAN, 98.5),
    Bound("mnist", OURS, PGD, 91),
    Bound("mnist", OURS, AUTO, 89.5),
    Bound("mnist", OURS, CPU, 360),
    Bound("mnist", FAST, CLEAN, 98),
    Bound("mnist", FAST, PGD, 85),
    Bound("mnist", FAST, CPU, 90),
    Bound(LONG, AWP, AUTO, 92.8),
    Bound(RESNET, AWP, AUTO, 50),
    Bound(RESNET, AWP, "train_wall_seconds", 1800),
    Bound(RESNET, AWP, "last_less_best", 1.5),
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
        *(_bound(frame, bound) for bound in BOUNDS),
        *(
            _speed(frame, task, rival, most)
            for task, speed in SPEEDS.items()
            for rival, most in speed.most.items()
        ),
        _verdict(frame),
        *(_foreign(frame, name) for name in ATTACKS),
    ]


def _bound(frame: pd.DataFrame, bound: Bound) -> Target:
    found = values(frame, bound.task, bound.method, bound.key)
    if not len(found):
        return Target(bound.wanted, "", None)
    found = 100 * found if bound.key in SHARES else found
    is_all = len(found) >= TASKS[bound.task].methods[bound.method]
    if bound.key != CPU:
        met = bool(bound.holds(found.mean()))
        return Target(bound.wanted, _mean(found), met if is_all else None)
    # Seconds of two machines have no mean that means anything.
    machines = lines_of(frame, bound.task, bound.method)["machine"].loc[found.index]
    groups = {name: found[machines == name] for name in sorted(set(machines))}
    text = "; ".join(f"{_mean(one)}, {name}" for name, one in groups.items())
    met = all(bound.holds(one.mean()) for one in groups.values())
    return Target(bound.wanted, text, met if is_all else None)


def _mean(found: pd.Series) -> str:
    spread = f" ± {found.std():.2f}" if len(found) > 1 else ""
    return f"{found.mean():.2f}{spread}, n = {len(found)}"


def _speed(frame: pd.DataFrame, task: str, rival: str, most: float) -> Target:
    speed = SPEEDS[task]
    wanted = f"{speed.title}: at most {most:.2f} times the CPU seconds of {rival}"
    found = ratios(frame, task, rival)
    if not len(found):
        return Target(wanted, "", None)
    text = f"{found.median():.2f} ({found.min():.2f} to {found.max():.2f}), {len(found)} rounds"
    met = bool(round(found.median(), 2) <= most) if len(found) >= speed.rounds else None
    return Target(wanted, text, met)


def _verdict(frame: pd.DataFrame) -> Target:
    wanted = f"AutoAttack: our verdict within {POINTS_OF_VERDICT:g} points of {STANDARD}"
    ours, theirs = (values(frame, "speed-auto", name, "left") for name in (OUR_SPEED, STANDARD))
    return _apart(wanted, ours, theirs, lambda apart: abs(apart) <= POINTS_OF_VERDICT)


def _foreign(frame: pd.DataFrame, name: str) -> Target:
    wanted = f"{name} leaves no less than our report says, less {POINTS_OF_FOREIGN:g} point"
    if len(frame) and "model" in frame:  # all of them speak of one model
        own = frame[(frame["task"] == FOREIGN) & (frame["method"] == OWN)]
        frame = frame[frame["model"].isin(own["model"])]
    ours, theirs = (values(frame, FOREIGN, one, "left") for one in (OWN, name))
    return _apart(wanted, ours, theirs, lambda apart: apart >= -POINTS_OF_FOREIGN)


def _apart(
    wanted: str, ours: pd.Series, theirs: pd.Series, holds: Callable[[float], bool]
) -> Target:
    """Return a target on the points of accuracy that others leave more than ours."""
    apart = (100 * (theirs - ours)).dropna()
    if not len(apart):
        return Target(wanted, "", None)
    text = f"{100 * theirs.mean():.1f} %, ours {100 * ours.mean():.1f} %"
    # Shares are of whole rows: what is less than a thousandth of a point is rounding.
    return Target(wanted, text, all(holds(round(one, 3)) for one in apart))


def ratios(frame: pd.DataFrame, task: str, rival: str) -> pd.Series:
    """Return by round the CPU seconds of ours over those of a rival."""
    ours, theirs = (values(frame, task, name, "cpu_seconds") for name in (OUR_SPEED, rival))
    return (ours / theirs).dropna()


def values(frame: pd.DataFrame, task: str, method: str, key: str) -> pd.Series:
    """Return a figure of a method on a task by seed; empty where there is none."""
    if not len(frame) or key not in frame:
        return pd.Series(dtype=float)
    return lines_of(frame, task, method)[key].astype(float).dropna()


def lines_of(frame: pd.DataFrame, task: str, method: str) -> pd.DataFrame:
    """Return the lines of a method on a task by seed."""
    return frame[(frame["task"] == task) & (frame["method"] == method)].set_index("seed")
