"""Ahead, level or behind: what may be said of a difference between two methods on one task."""

from __future__ import annotations

import base64

import numpy as np
import pandas as pd
from tasks import Task

from mlexpert.evidence.significance import holm, mcnemar, nadeau_bengio

LEVEL = 0.05
LOWER = {"log_loss", "rmse", "mae"}
"""Metrics of which less is better."""


def verdicts(
    lines: pd.DataFrame, own: str, rivals: list[str], key: str, task: Task
) -> dict[str, str]:
    """Return what stands in the table of comparisons, by rival.

    Args:
        lines: Of one task.
        own: The method that is compared.
        rivals: Those that it is compared with, over which p-values are corrected.
        key: The metric.
        task: Of the lines.
    """
    wide = lines.pivot(index="seed", columns="method", values=key)
    gaps = {rival: (wide[own] - wide[rival]).dropna().to_numpy(float) for rival in rivals}
    if not task.is_official:
        train, test = lines["rows"].iloc[0]
        return _over_folds(gaps, key, train, test)
    if key == "accuracy":
        return _on_test_rows(lines, own, gaps)
    return {rival: _gap(values, key) for rival, values in gaps.items()}


def _over_folds(gaps: dict[str, np.ndarray], key: str, train: int, test: int) -> dict[str, str]:
    tests = {
        rival: nadeau_bengio(values, n_train=train, n_test=test)
        for rival, values in gaps.items()
        if len(values) > 1 and np.ptp(values) > 0
    }
    adjusted = dict(zip(tests, holm([t.p for t in tests.values()]), strict=True)) if tests else {}
    said = {}
    for rival, values in gaps.items():
        said[rival] = _gap(values, key)
        if rival in tests:
            result, p = tests[rival], adjusted[rival]
            digits = _digits(key)
            ends = f"{result.low:+,.{digits}f} to {result.high:+,.{digits}f}"
            better = (result.difference > 0) != (key in LOWER)
            said[rival] += f" ({ends}), p {_p(p)}: {_verdict(p, better)}"
        else:
            said[rival] += ", not tested"
        if len(values) != max(map(len, gaps.values())):
            said[rival] += f", n = {len(values)}"
    return said


def _on_test_rows(lines: pd.DataFrame, own: str, gaps: dict[str, np.ndarray]) -> dict[str, str]:
    """Compare row by row on the official test split, each seed with its like."""
    right = {
        (row.method, row.seed): np.unpackbits(
            np.frombuffer(base64.b64decode(row.right), dtype=np.uint8), count=row.rows[1]
        ).astype(bool)
        for row in lines.itertuples()
    }
    seeds = sorted(seed for method, seed in right if method == own)
    found: dict[str, list[float]] = {rival: [] for rival in gaps}
    for seed in seeds:
        there = [rival for rival in gaps if (rival, seed) in right]
        raw = [mcnemar(right[own, seed], right[rival, seed]).p for rival in there]
        for rival, p in zip(there, holm(raw) if raw else [], strict=True):
            found[rival].append(float(p))
    said = {}
    for rival, values in gaps.items():
        p, same_side = found[rival], bool(np.all(values > 0) or np.all(values < 0))
        worst = max(p, default=1.0) if same_side else 1.0
        listed = ", ".join(map(_p, p))
        said[rival] = f"{_gap(values, 'accuracy')}, p {listed}: "
        said[rival] += _verdict(worst, bool(len(values) and values.mean() > 0))
    return said


def _gap(values: np.ndarray, key: str) -> str:
    return f"{values.mean():+,.{_digits(key)}f}" if len(values) else "no run in common"


def _digits(key: str) -> int:
    return 0 if key in ("rmse", "mae") else 4


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}".replace("0.", ".", 1)


def _verdict(p: float, better: bool) -> str:
    if p >= LEVEL:
        return "level"
    return "**ahead**" if better else "**behind**"
