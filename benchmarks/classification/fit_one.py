"""One training in a process of its own; `run.py` starts it.

    python fit_one.py WHAT OUTPUT    # WHAT is JSON, OUTPUT is where its line goes

CPU seconds are those of the process and of the workers it started; the peak of memory is its own.
What is measured as training is all of `fit`: reading and auditing the data, training, calibrating
and recording for ours, preparing the table and choosing C for the rivals. Decoding images is not.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
from clock import Clock, peak_bytes
from methods import IMAGES, LOOP, SHORT, TFIDF, ensemble, is_ours
from one_process import write_lines
from tasks import FOLDS, TASKS, Rows, Split, Task

from mlexpert.evidence.objectives import metrics_of
from mlexpert.recipes import get

KEPT = ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "pr_auc", "brier", "log_loss")
KEPT_OF_NUMBERS = ("rmse", "mae", "r2")
VERSIONS = ("mlexpert", "torch", "torchvision", "scikit-learn", "xgboost", "lightgbm", "pytabkit")


@dataclass(frozen=True)
class Job:
    """A method on a split, and the classes in the order of their indices."""

    name: str
    task_name: str
    task: Task
    split: Split
    classes: np.ndarray
    seed: int
    threads: int
    smoke: bool


@dataclass(frozen=True)
class Model:
    """A trained method: its answers to inputs, and what is worth noting of its training.

    Attributes:
        answer: Returns probabilities (N, K), or numbers (N,).
        decide: Returns the chosen labels (N,), where they are not simply the most probable.
        notes: Goes into the line.
    """

    answer: Callable[[Any], np.ndarray]
    decide: Callable[[Any], np.ndarray] | None = None
    notes: dict[str, Any] = field(default_factory=dict)


def fit_ours(job: Job) -> Model:
    task, split, folds = job.task, job.split, None
    fields: dict[str, Any] = {"seed": job.seed, "test": 0.0}
    recipe = job.name
    if task.kind == "images":
        recipe, own = IMAGES[job.name]
        fields |= {"validation": 0.02, **own}
        data: Any = (split.train.inputs, split.train.targets)
        target = None
    else:
        target = task.target
        data = split.train.frame(target)
        if split.validation is not None:
            data = {"train": data, "validation": split.validation.frame(target)}
    if job.task.kind == "tables" and job.name == ensemble(job.task_name):
        recipe, folds = job.name.split(",")[0], FOLDS
    if job.smoke:
        fields |= {"epochs": 1, "validation": 0.15}
    folder = tempfile.mkdtemp(prefix="fit-")
    fitted = get(recipe, **fields).fit(
        data, target=target, folds=folds, run_dir=folder, leakage="report", progress=False
    )
    record = json.loads((Path(folder) / "run.json").read_text())
    notes = {
        "epochs": record["config"]["epochs"],
        "train_loop_seconds": record.get("seconds", {}).get("train"),
        "arithmetic": record.get("arithmetic", {}).get("precision"),
    }
    if task.numbers:
        return Model(fitted.predict, notes=notes)
    assert np.array_equal(fitted.classes_, job.classes)
    return Model(fitted.predict_proba, fitted.predict, notes)


def fit_rival(job: Job) -> Model:
    task, train = job.task, job.split.train
    targets = train.targets if task.numbers else np.searchsorted(job.classes, train.targets)
    if job.name == LOOP:
        return _fit_loop(job, targets)
    if job.name == TFIDF:
        from rivals_texts import tfidf

        pipeline, notes = tfidf(job.split, job.seed)
        return Model(lambda rows: pipeline.predict_proba(rows.iloc[:, 0]), notes=notes)
    import rivals_tables

    assert isinstance(train.inputs, pd.DataFrame)
    answer = rivals_tables.fit_rival(
        job.name,
        train.inputs,
        targets,
        numbers=task.numbers,
        seed=job.seed,
        threads=job.threads,
        smoke=job.smoke,
    )
    return Model(answer)


def _fit_loop(job: Job, targets: np.ndarray) -> Model:
    from rivals_images import Loop, small_resnet

    pixels = job.split.train.inputs
    assert isinstance(pixels, np.ndarray), "images are arrays"
    model = small_resnet(pixels, num_classes=len(job.classes), seed=job.seed)
    loop = Loop(model, pixels, targets, epochs=1 if job.smoke else SHORT, seed=job.seed)
    loop.train()
    return Model(loop.predict_proba, notes={"epochs": loop.epochs, "arithmetic": "fp32"})


def measured(job: Job) -> dict[str, Any]:
    """Train, predict the test rows, and return the line."""
    clock = Clock()
    model = fit_ours(job) if is_ours(job.name) else fit_rival(job)
    trained = clock.lap()
    test = job.split.test
    found = np.asarray(model.answer(test.inputs), dtype=np.float64)
    predicted = clock.lap()
    scores, right = scored(job, model, found, test)
    return {
        **{f"train_{unit}": value for unit, value in trained.items()},
        **{f"predict_{unit}": value for unit, value in predicted.items()},
        "peak_mib": round(peak_bytes() / 2**20),
        "rows": [len(job.split.train), len(test)],
        **scores,
        "notes": {key: value for key, value in model.notes.items() if value is not None},
        **({"right": packed(right)} if right is not None and job.task.is_official else {}),
    }


def scored(
    job: Job, model: Model, found: np.ndarray, test: Rows
) -> tuple[dict[str, float], np.ndarray | None]:
    """Return the metrics and, for classes, whether each test row was decided rightly."""
    if job.task.numbers:
        metrics = metrics_of(
            "regression", {"predictions": found, "targets": test.targets}, train_counts=()
        )
        return {key: round(metrics[key], 5) for key in KEPT_OF_NUMBERS}, None
    targets = np.searchsorted(job.classes, test.targets)
    chosen = (
        np.searchsorted(job.classes, model.decide(test.inputs))
        if model.decide is not None
        else found.argmax(axis=1)
    )
    counts = np.unique(job.split.train.targets, return_counts=True)[1]
    arrays = {
        "probabilities": found / found.sum(axis=1, keepdims=True),
        "decisions": chosen,
        "targets": targets,
    }
    metrics = metrics_of("classification", arrays, train_counts=counts)
    return {key: round(metrics[key], 5) for key in KEPT}, chosen == targets


def packed(right: np.ndarray) -> str:
    """Return booleans as text, eight a byte: what McNemar's test needs of a line."""
    return base64.b64encode(np.packbits(right).tobytes()).decode()


def lines_of(what: dict[str, Any]) -> list[dict]:
    data = Path(what["data"])
    if what["task"].startswith("speed"):
        from speed import rounds

        return rounds(what["task"], what["seed"], data, smoke=what["smoke"])
    task = TASKS[what["task"]]
    split = task.split(0 if task.is_official else what["seed"], data, smoke=what["smoke"])
    job = Job(
        what["method"],
        what["task"],
        task,
        split,
        np.unique(split.train.targets),
        what["seed"],
        what["threads"],
        what["smoke"],
    )
    return [measured(job)]


if __name__ == "__main__":
    write_lines(lines_of, VERSIONS)
