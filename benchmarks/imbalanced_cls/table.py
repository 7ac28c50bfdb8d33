"""Turn the lines of a benchmark into its page: one table per task, each figure with its spread."""

from __future__ import annotations

import math
import platform
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mlexpert.environment import environment, packages
from mlexpert.evidence.significance import nadeau_bengio

OFFICIAL, OVER_SEEDS = "adult, official test", "mammography, three seeds"
"""Tasks whose spread is that of seeds: on one test split, or on the mean of the same five folds."""
LOWER_IS_BETTER = {"brier", "cpu_seconds"}
TITLES = {
    "pr_auc": "PR-AUC",
    "roc_auc": "ROC-AUC",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "brier": "Brier",
    "cpu_seconds": "CPU s",
}


def write_tables(rows: list[dict], page: Path, *, ours: str, shown: tuple[str, ...]) -> None:
    """Write `page` from the lines alone, so that it can be made again without measuring."""
    frame = pd.DataFrame(rows)
    parts = [_head(", ".join(frame["commit"].unique()))]
    for task, lines in frame.groupby("task", sort=False):
        parts += [f"## {task}", _sizes(lines)]
        if task == OVER_SEEDS:
            lines = _mean_over_folds(lines)
        parts += [_table(lines, shown)]
        parts += [_comparison(lines, ours, shown)]
    page.write_text("\n\n".join(parts) + "\n")


def _head(commits: str) -> str:
    machine, versions = environment(), packages()
    shown = ", ".join(f"{name} {versions[name]}" for name in ("torch", "scikit-learn", "mlexpert"))
    return "\n".join(
        [
            "# imbalanced-cls beside its rivals on tables",
            "",
            "Mean over folds (or seeds) and their standard deviation. Decisions are each method's",
            "own `predict`: for `imbalanced-cls` the prior-adjusted decision, for the others the",
            "most probable class. The rarer class is positive. Best of a column in bold.",
            "",
            f"Measured {datetime.now(UTC):%Y-%m-%d} at commit {commits or 'unknown'}; "
            f"seeds are fold numbers; {machine['cpu'] or platform.processor()}, "
            f"{torch.get_num_threads()} thread(s); Python {machine['python']}, {shown}.",
        ]
    )


def _sizes(lines: pd.DataFrame) -> str:
    train, test = lines["rows"].iloc[0]
    return f"{train:,} training and {test:,} test rows, {lines['fold'].nunique()} folds or seeds."


def _mean_over_folds(lines: pd.DataFrame) -> pd.DataFrame:
    """Return a line per method and seed: fold k of the seed s has the number s + k."""
    seeds = lines.assign(fold=lines["fold"] // 100 * 100)
    means = seeds.groupby(["method", "fold"], sort=False).mean(numeric_only=True).reset_index()
    return means.assign(task=OVER_SEEDS)


def _table(lines: pd.DataFrame, shown: tuple[str, ...]) -> str:
    columns = [*shown, "cpu_seconds"]
    means = lines.groupby("method", sort=False)[columns].mean()
    spreads = lines.groupby("method", sort=False)[columns].std()
    best = {
        key: means[key].min() if key in LOWER_IS_BETTER else means[key].max() for key in columns
    }
    text = [
        "| method | " + " | ".join(TITLES[key] for key in columns) + " |",
        "| --- |" + " --- |" * len(columns),
    ]
    for method, row in means.iterrows():
        cells = [
            _cell(row[key], spreads.loc[method, key], key, bold=row[key] == best[key])
            for key in columns
        ]
        text.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(text)


def _cell(mean: float, spread: float, key: str, *, bold: bool) -> str:
    digits = 1 if key == "cpu_seconds" else 4 if key == "brier" else 3
    value = f"{mean:.{digits}f}"
    value = f"**{value}**" if bold else value
    return value if math.isnan(spread) else f"{value} ± {spread:.{digits}f}"


def _comparison(lines: pd.DataFrame, ours: str, shown: tuple[str, ...]) -> str:
    """Compare with the best rival on each metric, by the corrected test where there are folds."""
    if not set(lines["method"]) > {ours}:
        return ""  # nobody to compare with, as after --only
    wide = lines.pivot(index="fold", columns="method")
    tested = lines["task"].iloc[0] not in (OFFICIAL, OVER_SEEDS)
    text = [f"`{ours}` against the best rival on each metric:", ""]
    for key in shown:
        rivals = wide[key].drop(columns=[name for name in wide[key] if name.startswith(ours)])
        means = rivals.mean()
        best = means.idxmin() if key in LOWER_IS_BETTER else means.idxmax()
        gaps = (wide[key][ours] - rivals[best]).to_numpy(dtype=float)
        sign = "lower" if key in LOWER_IS_BETTER else "higher"
        line = f"- {TITLES[key]} ({sign} is better): {gaps.mean():+.4f} against {best}"
        if len(gaps) > 1 and tested:
            train, test = lines["rows"].iloc[0]
            result = nadeau_bengio(gaps, n_train=train, n_test=test)
            line += f", 95 % interval {result.low:+.4f} to {result.high:+.4f}, p = {result.p:.3f}"
        elif len(gaps) > 1:
            line += f", from {np.min(gaps):+.4f} to {np.max(gaps):+.4f} over seeds"
        text.append(line + ".")
    text += [
        "",
        "Test: Nadeau-Bengio corrected t over folds."
        if tested
        else "The range over seeds of ours and the rival's on the same rows, not a test.",
    ]
    return "\n".join(text)
