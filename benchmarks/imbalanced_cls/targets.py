"""What was to be reached, and whether the lines show that it was: met, missed or not measured.

A target is met only where every training that it rests on is there, and missed as soon as one of
its parts is, whatever else is still to be measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from contestants import ARGMAX, IMBLEARN, IN_LOSS, LDAM, OURS, PLAIN, methods, ours
from protocol import SIX, TASKS
from resampling_speed import CASES, LOOP, ROUNDS
from resampling_speed import OURS as OURS_EPOCH

from mlexpert.evidence.significance import nadeau_bengio

LEVEL = 0.05
AT_ONCE = ("pr_auc", "balanced_accuracy")
TITLES = {"pr_auc": "PR-AUC", "balanced_accuracy": "balanced accuracy"}
TABLES_NEEDED, MOST_BRIER, TIMES = 5, 1.05, 2.0
ON_TEXTS = "TF-IDF + logistic regression, balanced"
ON_GPU = "cifar-10-lt, ResNet-32"


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
        *_digits(frame),
        *(_ahead(frame, task, own) for task in LONG for own in (IN_LOSS, LDAM)),
        _on_a_gpu(frame),
        _tables(frame),
        _messages(frame),
        _probabilities(frame),
        *(_speed(frame, case) for case in CASES),
    ]


LONG = ("fashion-mnist-lt", "cifar-10-lt")


def _digits(frame: pd.DataFrame) -> Iterator[Target]:
    task = "digits-lt"
    plain = values(frame, task, PLAIN, "accuracy")
    found = f"{plain.mean():.3f} ± {plain.std():.3f}" if len(plain) else ""
    met = abs(plain.mean() - 0.89) <= 0.02 if _all(plain, task) else None
    yield Target("Digits: cross-entropy .89 ± .02, so that the protocol is the known one",
                 _counted(found, plain, task), met)  # fmt: skip
    for own, name in ((IN_LOSS, "in the loss"), (OURS, "afterwards")):
        yield _gap(frame, task, own, "accuracy", 0.025, f"logit adjustment {name}: accuracy")
        yield _gap(
            frame, task, own, "tail3_recall", 0.08, "the same: recall of the three rarest classes"
        )
    yield _gap(frame, task, LDAM, "accuracy", 0.02, "LDAM-DRW: accuracy")


def _gap(frame: pd.DataFrame, task: str, own: str, key: str, least: float, what: str) -> Target:
    gaps = (values(frame, task, own, key) - values(frame, task, PLAIN, key)).dropna()
    found = f"{gaps.mean():+.3f} ({gaps.min():+.3f} to {gaps.max():+.3f})" if len(gaps) else ""
    met = bool(gaps.mean() >= least) if _all(gaps, task) else None
    wanted = f"Digits, {what} at least {_short(least)} above cross-entropy"
    return Target(wanted, _counted(found, gaps, task), met)


def _ahead(frame: pd.DataFrame, task: str, own: str) -> Target:
    """Three points on the mean, and the worst seed above the best of cross-entropy."""
    title = TASKS[task].title
    wanted = f"{title}: `{own}` at least 3 points ahead of cross-entropy, beyond the seeds' spread"
    ours, plain = (values(frame, task, name, "accuracy") for name in (own, ARGMAX))
    gaps = (ours - plain).dropna()
    if not len(gaps):
        return Target(wanted, "", None)
    found = (
        f"{100 * gaps.mean():+.1f} points; {ours.min():.4f} to {ours.max():.4f} "
        f"against {plain.min():.4f} to {plain.max():.4f}"
    )
    apart = ours.min() > plain.max()
    met = bool(gaps.mean() >= 0.03 and apart) if _all(gaps, task) else None
    return Target(wanted, _counted(found, gaps, task), met)


def _on_a_gpu(frame: pd.DataFrame) -> Target:
    wanted = f"{TASKS[ON_GPU].title}: both at least 3 points ahead of cross-entropy"
    plain = values(frame, ON_GPU, ARGMAX, "accuracy")
    gaps = {own: (values(frame, ON_GPU, own, "accuracy") - plain).dropna()
            for own in (IN_LOSS, LDAM)}  # fmt: skip
    there = {own: 100 * gap.mean() for own, gap in gaps.items() if len(gap)}
    found = ", ".join(f"`{own}` {gap:+.1f} points" for own, gap in there.items())
    if found:
        found += f" (n = {', '.join(str(len(gap)) for gap in gaps.values())})"
    if any(gap < 3 for gap in there.values()):
        return Target(wanted, found, False)
    return Target(wanted, found, True if len(there) == len(gaps) else None)


@dataclass(frozen=True)
class Against:
    """The default beside the best of some rivals, in one metric."""

    rival: str
    gap: float
    p: float
    folds: int

    @property
    def is_behind(self) -> bool:
        """Whether a difference to our disadvantage is more than chance."""
        return self.gap < 0 and self.p < LEVEL

    def __str__(self) -> str:
        return f"{self.gap:+.4f} against {self.rival}, p {_p(self.p)}"


def against(frame: pd.DataFrame, task: str, key: str, rivals: tuple[str, ...]) -> Against | None:
    """Compare the default with the best of `rivals` over the folds of all; None if one is absent.

    The test is that of Nadeau and Bengio, in the metric `key`, of which more is better.
    """
    seeds = list(methods(task)[OURS])
    ours = values(frame, task, OURS, key).reindex(seeds)
    theirs = {name: values(frame, task, name, key).reindex(seeds) for name in rivals}
    if ours.isna().any() or any(found.isna().any() for found in theirs.values()):
        return None
    best = max(theirs, key=lambda name: theirs[name].mean())
    gaps = (ours - theirs[best]).to_numpy(float)
    train, test = frame[frame["task"] == task]["rows"].iloc[0]
    result = nadeau_bengio(gaps, n_train=train, n_test=test)
    return Against(best, result.difference, 1.0 if np.isnan(result.p) else result.p, len(gaps))


def _tables(frame: pd.DataFrame) -> Target:
    wanted = (
        "Tables: `imbalanced-cls` ahead of or level with the best of imbalanced-learn in PR-AUC "
        f"and in balanced accuracy at once, on {TABLES_NEEDED} of {len(SIX)}"
    )
    good, bad, open_ = [], [], []
    for task in SIX:
        found = [against(frame, task, key, IMBLEARN) for key in AT_ONCE]
        known = [one for one in found if one is not None]
        place = bad if any(one.is_behind for one in known) else good
        (place if len(known) == len(found) or place is bad else open_).append(task)
    said = [f"{len(good)} of {len(SIX)}"] if good or bad else []
    said += [f"behind on {', '.join(bad)}"] if bad else []
    said += [f"open: {', '.join(open_)}"] if open_ and said else []
    if len(bad) > len(SIX) - TABLES_NEEDED:
        return Target(wanted, "; ".join(said), False)
    return Target(wanted, "; ".join(said), True if len(good) >= TABLES_NEEDED else None)


def _messages(frame: pd.DataFrame) -> Target:
    wanted = f"SMS spam: ahead of or level with {ON_TEXTS} in both"
    found = {key: against(frame, "sms-spam", key, (ON_TEXTS,)) for key in AT_ONCE}
    known = {key: one for key, one in found.items() if one is not None}
    text = "; ".join(f"{TITLES[key]} {one}" for key, one in known.items())
    if len(known) < len(found):
        return Target(wanted, text, None)
    return Target(wanted, text, not any(one.is_behind for one in known.values()))


@dataclass(frozen=True)
class Ratio:
    """The Brier score of a rebalanced method over that of the plain model, over common seeds."""

    task: str
    method: str
    ratio: float
    seeds: int


def brier_ratios(frame: pd.DataFrame) -> tuple[list[Ratio], int]:
    """Return those that were measured, and how many there are to measure."""
    found, planned = [], 0
    for task, known in TASKS.items():
        base = PLAIN if task == "digits-lt" else OURS
        for method in ours(task):
            if method in (PLAIN, OURS) or known.needs_gpu:
                continue
            planned += 1
            pair = [values(frame, task, name, "natural_brier") for name in (method, base)]
            both = pd.concat(pair, axis=1, join="inner").to_numpy(float)
            if len(both) >= len(methods(task)[method]):
                ratio = both[:, 0].mean() / both[:, 1].mean()
                found.append(Ratio(task, method, float(ratio), len(both)))
    return found, planned


def _probabilities(frame: pd.DataFrame) -> Target:
    wanted = f"Probabilities: Brier score of every rebalanced method at most {MOST_BRIER} times "
    wanted += "that of the plain model"
    found, planned = brier_ratios(frame)
    if not found:
        return Target(wanted, "", None)
    worst = max(found, key=lambda one: one.ratio)
    text = f"at most {worst.ratio:.3f} times, `{worst.method}` on {worst.task}; "
    text += f"{len(found)} of {planned} measured"
    if worst.ratio > MOST_BRIER:
        above = sum(one.ratio > MOST_BRIER for one in found)
        return Target(wanted, f"{text}, {above} above", False)
    return Target(wanted, text, True if len(found) == planned else None)


def _speed(frame: pd.DataFrame, case: str) -> Target:
    wanted = f"Speed, {TASKS[CASES[case]].title}: resampling and an epoch at least twice as fast"
    ratio = times_as_fast(frame, case, OURS_EPOCH)
    if not len(ratio):
        return Target(wanted, "", None)
    found = f"{ratio.median():.2f} times ({ratio.min():.2f} to {ratio.max():.2f})"
    met = bool(ratio.median() >= TIMES) if len(ratio) >= ROUNDS else None
    return Target(wanted, f"{found}, {len(ratio)} rounds", met)


def times_as_fast(frame: pd.DataFrame, case: str, method: str) -> pd.Series:
    """Return by round the CPU seconds of imbalanced-learn's loop over those of a method."""
    return (
        values(frame, case, LOOP, "cpu_seconds") / values(frame, case, method, "cpu_seconds")
    ).dropna()


def values(frame: pd.DataFrame, task: str, method: str, key: str) -> pd.Series:
    """Return a figure of a method on a task by seed; empty where there is none."""
    if not len(frame) or key not in frame:
        return pd.Series(dtype=float)
    lines = frame[(frame["task"] == task) & (frame["method"] == method)]
    return lines.set_index("seed")[key].astype(float).dropna()


def _all(found: pd.Series, task: str) -> bool:
    return set(TASKS[task].seeds) <= set(found.index)


def _counted(text: str, found: pd.Series, task: str) -> str:
    """Say of how many seeds a figure is, where some are still to come."""
    if not text or _all(found, task):
        return text
    return f"{text}, {len(found)} of {len(TASKS[task].seeds)} seeds"


def _short(value: float) -> str:
    return f"{value:g}".removeprefix("0")


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}".replace("0.", ".", 1)
