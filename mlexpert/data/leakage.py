"""Audit a split for ways in which training may have seen what it is tested on.

Every check says what it found, also when that is nothing, and one that does not apply says so: what
was not checked must never read as passed. Only the test split's digests, groups and times are
looked at, so its seal stays whole.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mlexpert.data.coverage import listed
from mlexpert.data.finding import SHOWN, Finding, Severity
from mlexpert.data.fingerprint import number_rows
from mlexpert.data.overlap import shared_groups, shared_rows, time_order
from mlexpert.data.shortcuts import identifier_columns, order_dependence, telling_columns
from mlexpert.data.splits import Splits

__all__ = ["Finding", "Severity", "audit"]


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
    contents = number_rows(splits.digests["train"])[0]
    classes = _classes(splits)
    lowest = np.full(int(contents.max()) + 1, classes.max())
    highest = np.zeros_like(lowest)
    np.minimum.at(lowest, contents, classes)
    np.maximum.at(highest, contents, classes)
    rows = np.flatnonzero((lowest != highest)[contents])
    if not len(rows):
        return Finding(
            "conflicting labels", "ok", "rows of train with equal content agree on their label"
        )
    return Finding(
        "conflicting labels",
        "note",
        f"{len(rows):,} rows of train ({len(np.unique(contents[rows])):,} distinct) have the "
        "content of a row with another label: no model can be right on all of them",
        len(rows),
        tuple(rows[:SHOWN].tolist()),
    )


def _classes(splits: Splits) -> np.ndarray:
    """Return class numbers (N,) of the training rows, in order of first appearance."""
    import pandas as pd

    return pd.factorize(np.asarray(splits.train.targets))[0]


def _coverage(splits: Splits) -> Iterator[Finding]:
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
    found = telling_columns(frame, _classes(splits), seed=seed)
    if found is None:
        yield Finding(
            "telling columns",
            "skipped",
            "not applicable: fewer than two classes have 10 rows in train",
        )
    elif found:
        shown = ", ".join(f"{name!r} (AUC {auc:.3f})" for name, auc in list(found.items())[:SHOWN])
        yield Finding(
            "telling columns",
            "warning",
            f"a small tree on one column alone all but gives the label away: {shown}. If it is not "
            "known when you predict, "
            f"leave it out with inputs=",
            len(found),
            tuple(found)[:SHOWN],
        )
    else:
        yield Finding(
            "telling columns", "ok", "no single column gives the label away (AUC below 0.99)"
        )
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


def _order(splits: Splits) -> Finding:
    trend, runs = order_dependence(_classes(splits))
    if max(trend, runs) < 0.2:
        return Finding("row order", "ok", "the label does not depend on the position of its row")
    return Finding(
        "row order",
        "note",
        f"rows are ordered by label (trend {trend:.2f}, runs {runs:.2f}; 0 is none, 1 is sorted): "
        "harmless here, since "
        f"splits and batches are drawn at random, unless a column holds the position",
    )
