"""Look for what two parts of a split share: rows, groups, moments."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Literal

import numpy as np

from mlexpert.data.chronology import number_times
from mlexpert.data.finding import SHOWN, Finding, Severity
from mlexpert.data.fingerprint import number_rows
from mlexpert.data.splits import Splits
from mlexpert.data.stratify import number_groups

_HOW_ON = 'remove them, or go on with leakage="report" and have the report say so'


def _pairs(splits: Splits) -> Iterator[tuple[str, str]]:
    parts = ("train", "validation") if splits.test is None else ("train", "validation", "test")
    return combinations(parts, 2)


def _numbered(splits: Splits, role: Literal["groups", "times"]) -> dict[str, np.ndarray]:
    """Number the groups or times of all parts that have them, together."""
    rows = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    held = {
        part: values
        for part, examples in rows.items()
        if examples is not None
        and (values := examples.groups if role == "groups" else examples.times) is not None
    }
    joined = np.concatenate([np.asarray(values) for values in held.values()])
    numbers = number_groups(joined) if role == "groups" else number_times(joined)
    ends = np.cumsum([len(values) for values in held.values()])[:-1]
    return dict(zip(held, np.split(numbers, ends), strict=True))


def shared_rows(splits: Splits) -> Iterator[Finding]:
    """Look for rows of one part whose content, whatever their label, occurs in another."""
    for first, second in _pairs(splits):
        check = f"duplicates: {first} and {second}"
        known, asked = number_rows(splits.digests[first], splits.digests[second])
        rows = np.flatnonzero(np.isin(asked, known))
        if not len(rows):
            yield Finding(check, "ok", f"no row of {second} occurs in {first}")
            continue
        examples = tuple(rows[:SHOWN].tolist())
        shown = ", ".join(map(str, examples)) + (", ..." if len(rows) > SHOWN else "")
        severity: Severity = "error" if first == "train" else "warning"
        yield Finding(
            check,
            severity,
            f"{len(rows):,} of {len(asked):,} rows of {second} occur in {first} too, by content "
            f"without label (rows {shown}, counted from 0); {_HOW_ON}",
            len(rows),
            examples,
        )


def shared_groups(splits: Splits) -> Iterator[Finding]:
    """Look for groups that have rows in two parts."""
    groups = splits.train.groups
    if groups is None:
        yield Finding("shared groups", "skipped", "not applicable: no group= was named")
        return
    numbers = _numbered(splits, "groups")
    for first, second in _pairs(splits):
        check = f"shared groups: {first} and {second}"
        if first not in numbers or second not in numbers:
            yield Finding(check, "skipped", "not applicable: one of the two has no groups")
            continue
        shared = np.intersect1d(numbers[first], numbers[second])
        if not len(shared):
            yield Finding(check, "ok", f"no group has rows in both {first} and {second}")
            continue
        source = groups if first == "train" else splits.validation.groups
        named = dict(zip(numbers[first].tolist(), np.asarray(source).tolist(), strict=True))
        examples = tuple(str(named[number]) for number in shared[:SHOWN].tolist())
        severity: Severity = "error" if first == "train" else "warning"
        yield Finding(
            check,
            severity,
            f"{len(shared):,} groups have rows in both {first} and {second} "
            f"({', '.join(examples)}); {_HOW_ON}",
            len(shared),
            examples,
        )


def time_order(splits: Splits) -> Iterator[Finding]:
    """Look for rows that are no later than those of the part before."""
    if splits.train.times is None:
        yield Finding("time order", "skipped", "not applicable: no time= was named")
        return
    numbers = _numbered(splits, "times")
    for first, second in _pairs(splits):
        check = f"time order: {first} before {second}"
        if first not in numbers or second not in numbers:
            yield Finding(check, "skipped", "not applicable: one of the two has no times")
            continue
        rows = np.flatnonzero(numbers[second] <= numbers[first].max())
        if not len(rows):
            yield Finding(check, "ok", f"every row of {second} is later than all of {first}")
            continue
        yield Finding(
            check,
            "warning",
            f"{len(rows):,} of {len(numbers[second]):,} rows of {second} are no later than the "
            f"last of {first}: {second} does not show how well the future is predicted",
            len(rows),
            tuple(rows[:SHOWN].tolist()),
        )
