"""Audit a split for ways in which training may have seen what it is tested on.

Every check says what it found, also when that is nothing, and one that does not apply says so: what
was not checked must never read as passed. Only the test split's digests, groups and times are
looked at, so its seal stays whole.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mlexpert.data.coverage import listed
from mlexpert.data.examples import SEQUENCES
from mlexpert.data.finding import SHOWN, Finding, Severity
from mlexpert.data.fingerprint import number_rows
from mlexpert.data.overlap import shared_groups, shared_rows, time_order
from mlexpert.data.shortcuts import (
    TELLING_AUC,
    TELLING_R2,
    identifier_columns,
    order_dependence,
    telling_columns,
    telling_of_values,
)
from mlexpert.data.splits import Splits
from mlexpert.data.strata import NUM_BINS, quantile_bins

__all__ = ["Finding", "Severity", "audit"]

_TARGET = {
    "classification": "label",
    "multilabel": "set of labels",
    "regression": "number",
    "tags": "tags",
    "transduction": "target",
}
"""What a row is said to have."""


def audit(splits: Splits, *, seed: int = 0) -> list[Finding]:
    """Check a split for leakage.

    Args:
        splits: What `split` made; rows of train may be read, of the other parts only digests,
            groups and times.
        seed: Draws the rows on which single columns are tried.

    Returns:
        One or more findings of every check, in a fixed order. An "error" stands only where a part
        that the user brought shares rows or groups with train.
    """
    return [
        *shared_rows(splits),
        *shared_groups(splits),
        *time_order(splits),
        _repeats(splits),
        _conflicts(splits),
        *_coverage(splits),
        *_columns(splits, seed),
        _order(splits),
    ]


def _repeats(splits: Splits) -> Finding:
    rows = _repeated(splits.digests["train"])
    if not len(rows):
        return Finding("repeated rows", "ok", "no row of train repeats another")
    return Finding(
        "repeated rows",
        "note",
        f"{len(rows):,} of {len(splits.train):,} rows of train repeat an earlier one; each counts",
        len(rows),
        tuple(rows[:SHOWN].tolist()),
    )


def _repeated(digests: np.ndarray) -> np.ndarray:
    """Return the rows that repeat an earlier one."""
    first = np.unique(number_rows(digests)[0], return_index=True)[1]
    return np.setdiff1d(np.arange(len(digests)), first)


def _conflicts(splits: Splits) -> Finding:
    if splits.train.targets is None:
        message = "not applicable: rows have no labels"
        return Finding("conflicting labels", "skipped", message)
    contents = number_rows(splits.digests["train"])[0]
    numbers = _numbers(splits)
    target = _TARGET[splits.train.objective]
    lowest = np.full(int(contents.max()) + 1, numbers.max())
    highest = np.zeros_like(lowest)
    np.minimum.at(lowest, contents, numbers)
    np.maximum.at(highest, contents, numbers)
    rows = np.flatnonzero((lowest != highest)[contents])
    if not len(rows):
        return Finding(
            "conflicting labels", "ok", f"rows of train with equal content agree on their {target}"
        )
    return Finding(
        "conflicting labels",
        "note",
        f"{len(rows):,} rows of train ({len(np.unique(contents[rows])):,} distinct) have the "
        f"content of a row with another {target}: no model can be right on all of them",
        len(rows),
        tuple(rows[:SHOWN].tolist()),
    )


def _numbers(splits: Splits) -> np.ndarray:
    """Return numbers (N,) of the distinct targets of train, in order of first appearance."""
    import pandas as pd

    return pd.factorize(np.asarray(splits.train.targets))[0]


def _coverage(splits: Splits) -> Iterator[Finding]:
    if splits.train.objective == "regression":
        yield Finding("classes", "skipped", "not applicable: numbers are predicted")
    if splits.train.objective in SEQUENCES:
        yield Finding("classes", "skipped", "not applicable: sequences are predicted")
    for part, missing in splits.absent.items():
        check = f"classes in {part}"
        if not missing:
            yield Finding(check, "ok", f"every class of train has rows in {part}")
            continue
        yield Finding(
            check,
            "warning",
            f"{part} has no row of class {listed(missing[:SHOWN])}: it cannot be judged there",
            len(missing),
            tuple(missing[:SHOWN]),
        )


def _columns(splits: Splits, seed: int) -> Iterator[Finding]:
    if splits.train.kind != "tabular":
        message = f"not applicable: {splits.train.kind} rows have no columns"
        yield Finding("telling columns", "skipped", message)
        yield Finding("identifier columns", "skipped", message)
        return
    frame = splits.train.inputs
    yield _telling(splits, seed)
    names = identifier_columns(frame)
    if names:
        yield Finding(
            "identifier columns",
            "warning" if len(frame) >= 100 else "note",
            f"every row of train has its own value of {', '.join(map(repr, names[:SHOWN]))}: an "
            "identifier says nothing "
            f"about new rows; leave it out with inputs=",
            len(names),
            tuple(names[:SHOWN]),
        )
    else:
        yield Finding(
            "identifier columns",
            "ok",
            "no column of whole numbers or strings is unique in every row",
        )


def _telling(splits: Splits, seed: int) -> Finding:
    """Look for single columns that give the target away."""
    check, objective, frame = "telling columns", splits.train.objective, splits.train.inputs
    if objective == "multilabel":
        return Finding(check, "skipped", "not checked: rows have sets of labels")
    measure, lowest, found = "AUC", TELLING_AUC, None
    if objective == "regression":
        measure, lowest = "R2 of ranks", TELLING_R2
        found = telling_of_values(frame, np.asarray(splits.train.targets), seed=seed)
    else:
        found = telling_columns(frame, _numbers(splits), seed=seed)
    target = _TARGET[objective]
    if found is None:
        few = "30 rows are" if objective == "regression" else "two classes have 10 rows"
        return Finding(check, "skipped", f"not applicable: fewer than {few} in train")
    if not found:
        message = f"no single column gives the {target} away ({measure} below {lowest})"
        return Finding(check, "ok", message)
    shown = ", ".join(f"{name!r} ({measure} {by:.3f})" for name, by in list(found.items())[:SHOWN])
    return Finding(
        check,
        "warning",
        f"a small tree on one column alone all but gives the {target} away: {shown}. If it is not "
        "known when you predict, leave it out with inputs=",
        len(found),
        tuple(found)[:SHOWN],
    )


def _order(splits: Splits) -> Finding:
    objective = splits.train.objective
    if objective in SEQUENCES:
        return Finding("row order", "skipped", "not applicable: sequences are predicted")
    if objective == "regression":
        numbers = quantile_bins(np.asarray(splits.train.targets), NUM_BINS)
    else:
        numbers = _numbers(splits)
    target = _TARGET[objective]
    trend, runs = order_dependence(numbers)
    if max(trend, runs) < 0.2:
        message = f"the {target} does not depend on the position of its row"
        return Finding("row order", "ok", message)
    return Finding(
        "row order",
        "note",
        f"rows are ordered by {target} (trend {trend:.2f}, runs {runs:.2f}; 0 is none, 1 is "
        "sorted): harmless here, since splits and batches are drawn at random, unless a column "
        "holds the position",
    )
