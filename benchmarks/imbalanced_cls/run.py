"""Measure `imbalanced-cls` beside its rivals on imbalanced tables, in one run.

    python benchmarks/imbalanced_cls/run.py            # everything; goes on where it was stopped
    python benchmarks/imbalanced_cls/run.py --smoke    # a minute, to see that it works

Every (task, method, fold) is one line of `results.jsonl`, so a run that was stopped goes on. The
folds are those of StratifiedKFold(5, shuffle=True, random_state=0); our recipe holds its validation
rows out of each training fold. The test fold is looked at once per method and fold, after training.
`results.md` is written from the lines alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Before numpy and torch start their threads: oversubscribed cores make figures meaningless.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from rich.progress import Progress
from sklearn.model_selection import StratifiedKFold
from table import OFFICIAL, OVER_SEEDS, write_tables

from mlexpert.evidence.metrics import classification_metrics
from mlexpert.recipes import get

HERE = Path(__file__).parent
COMMIT = subprocess.run(
    ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False
).stdout.strip()
"""Of the code as it was loaded: it may move on while this runs."""
OURS, OURS_PLAIN = "imbalanced-cls", "imbalanced-cls, argmax"
"""One model, two decisions: the recipe's own, and the most probable class."""
SHOWN = ("pr_auc", "roc_auc", "balanced_accuracy", "macro_f1", "brier")


@dataclass(frozen=True)
class Fold:
    """One training and one test table of a task; its number is the seed of every method."""

    task: str
    number: int
    train: pd.DataFrame
    test: pd.DataFrame
    target: str


def folds(data: Path, smoke: bool) -> Iterator[Fold]:
    """Yield the folds of every task: three tables in five folds, and adult's official split."""
    mammography, phoneme = (
        pd.read_parquet(data / f"{name}.parquet") for name in ("mammography", "phoneme")
    )
    yield from _five_folds("mammography", mammography, "class", smoke)
    if not smoke:  # fifty positives a fold: its figures move with the seed
        for base in (0, 100, 200):
            yield from _five_folds(OVER_SEEDS, mammography, "class", smoke, base)
    yield from _five_folds("phoneme", phoneme, "class", smoke)
    train, test = (pd.read_parquet(data / f"adult_{part}.parquet") for part in ("train", "test"))
    if not smoke:
        for seed in range(3):
            yield Fold(OFFICIAL, seed, train, test, "income")
    yield from _five_folds("adult", train, "income", smoke)


def _five_folds(
    name: str, table: pd.DataFrame, target: str, smoke: bool, base: int = 0
) -> Iterator[Fold]:
    if smoke:
        table = table.groupby(target).sample(frac=0.08, random_state=0)
    splitter = StratifiedKFold(5, shuffle=True, random_state=0)
    for number, (train, test) in enumerate(splitter.split(table, table[target])):
        yield Fold(name, base + number, table.iloc[train], table.iloc[test], target)
        if smoke:
            return


@dataclass(frozen=True)
class Outcome:
    """Probabilities for the test rows (N, K), and the labels chosen under one or two names."""

    classes: np.ndarray
    probabilities: np.ndarray
    labels: dict[str, np.ndarray]


def run_ours(fold: Fold, smoke: bool) -> Outcome:
    fields = {"epochs": 2} if smoke else {}
    with tempfile.TemporaryDirectory() as folder:
        recipe = get(OURS, seed=fold.number, test=0.0, precision="fp32", **fields)
        fitted = recipe.fit(fold.train, target=fold.target, run_dir=folder, progress=False)
        probabilities = fitted.predict_proba(fold.test)
        plain = fitted.classes_[probabilities.argmax(axis=1)]
        labels = {OURS: fitted.predict(fold.test), OURS_PLAIN: plain}
        return Outcome(fitted.classes_, probabilities, labels)


def run_rival(name: str, fold: Fold) -> Outcome:
    from rivals import rivals

    model = rivals(fold.number)[name]
    classes, train = np.unique(fold.train[fold.target], return_inverse=True)
    model.fit(fold.train.drop(columns=fold.target), train)
    probabilities = model.predict_proba(fold.test.drop(columns=fold.target))
    return Outcome(classes, probabilities, {name: classes[probabilities.argmax(axis=1)]})


def measure(name: str, fold: Fold, smoke: bool) -> Iterator[dict]:
    """Train one method on one fold, and score each of its decisions."""
    started = time.process_time()
    out = run_ours(fold, smoke) if name == OURS else run_rival(name, fold)
    seconds = time.process_time() - started
    position = {label: index for index, label in enumerate(out.classes)}
    counts = fold.train[fold.target].value_counts()
    probabilities = np.asarray(out.probabilities, dtype=np.float64)
    for shown, labels in out.labels.items():
        metrics = classification_metrics(
            probabilities / probabilities.sum(axis=1, keepdims=True),
            np.array([position[label] for label in labels]),
            np.array([position[label] for label in fold.test[fold.target]]),
            train_counts=[counts[label] for label in out.classes],
        )
        yield {
            "task": fold.task,
            "fold": fold.number,
            "method": shown,
            "commit": COMMIT,
            "rows": [len(fold.train), len(fold.test)],
            "cpu_seconds": round(seconds, 2),
            **{key: None if np.isnan(value) else round(value, 5) for key, value in metrics.items()},
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a short run, to see that it works")
    parser.add_argument("--fresh", action="store_true", help="measure everything again")
    parser.add_argument("--only", metavar="METHOD", nargs="+", help="measure these alone")
    parser.add_argument("--task", help="measure on this task alone")
    options = parser.parse_args()
    data = Path(os.environ.get("MLEXPERT_DATA", "../shared/data"))
    if not data.is_dir():
        raise SystemExit(f"{data} is no folder; set MLEXPERT_DATA to where the real data lies")
    from rivals import rivals

    os.environ["MLEXPERT_HOME"] = tempfile.mkdtemp()
    lines = Path(tempfile.mkdtemp()) / "results.jsonl" if options.smoke else HERE / "results.jsonl"
    methods = options.only or [OURS, *rivals(0)]
    if options.fresh:
        measured = {*methods, OURS_PLAIN} if OURS in methods else set(methods)
        again = options.task or [row["task"] for row in read_lines(lines)]
        kept = [
            r for r in read_lines(lines) if r["method"] not in measured or r["task"] not in again
        ]
        lines.write_text("".join(json.dumps(row) + "\n" for row in kept))
    done = {_key(row) for row in read_lines(lines)}
    todo = [
        (name, fold)
        for fold in folds(data, options.smoke)
        for name in methods
        if (fold.task, fold.number, name) not in done and options.task in (None, fold.task)
    ]
    with Progress() as progress:
        task = progress.add_task("", total=len(todo))
        for name, fold in todo:
            progress.update(task, description=f"{fold.task} {fold.number}: {name}")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows = list(measure(name, fold, options.smoke))
            with lines.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            progress.advance(task)
    page = lines.with_name("results.md")
    write_tables(read_lines(lines), page, ours=OURS, shown=SHOWN)
    print(page.read_text() if options.smoke else f"Wrote {page}")


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _key(row: dict) -> tuple[str, int, str]:
    return row["task"], row["fold"], row["method"]


if __name__ == "__main__":
    main()
