"""One training in a process of its own; `run.py` starts it.

    python train_one.py WHAT OUTPUT    # WHAT is JSON, OUTPUT is where its lines go

CPU seconds are those of the process and of the workers it started. What is measured as training is
all of `fit`: reading and auditing, resampling, training, calibrating and recording for ours,
scaling and choosing C for the rivals. The test rows are predicted once, after it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from borrowed import Clock, Rows, Split, peak_bytes, tfidf
from contestants import ARGMAX, OURS, is_ours
from one_process import write_lines
from protocol import TASKS, Measured
from resampling_speed import CASES, rounds

from mlexpert.evidence.metrics import WeightedMetrics
from mlexpert.evidence.predictions import Predictions
from mlexpert.recipes import get

VERSIONS = ("mlexpert", "torch", "scikit-learn", "imbalanced-learn", "xgboost", "lightgbm")
TAIL = 3
"""Rarest classes whose recalls are averaged."""


@dataclass(frozen=True)
class Model:
    """A trained method: its answers to inputs, and what is worth noting of its training.

    Attributes:
        answer: Returns probabilities (N, K).
        decide: Returns the chosen classes (N,), where they are not simply the most probable.
        notes: Goes into the line.
    """

    answer: Callable[[Any], np.ndarray]
    decide: Callable[[Any], np.ndarray] | None = None
    notes: dict[str, Any] = field(default_factory=dict)


def fit_ours(name: str, task: Measured, split: Split, seed: int, *, smoke: bool) -> Model:
    fields = {"seed": seed, "test": 0.0, **task.fields}
    if smoke:
        fields |= {"epochs": 2, "validation": 0.15}
    if task.kind == "images":
        data: Any = (split.train.inputs, split.train.targets)
        target = None
    else:
        target = task.rows.target
        data = split.train.frame(target)
    folder = tempfile.mkdtemp(prefix="fit-")
    fitted = get(name, **fields).fit(
        data, target=target, run_dir=folder, leakage="report", progress=False
    )
    record = json.loads((Path(folder) / "run.json").read_text())
    notes = {
        "epochs": record["config"]["epochs"],
        "train_loop_seconds": record.get("seconds", {}).get("train"),
        "arithmetic": record.get("arithmetic", {}).get("precision"),
    }
    classes = fitted.classes_
    return Model(
        fitted.predict_proba, lambda rows: np.searchsorted(classes, fitted.predict(rows)), notes
    )


def fit_rival(name: str, task: Measured, split: Split, seed: int, threads: int) -> Model:
    from rivals import table_rival, text_rival

    inputs, targets = split.train.inputs, split.train.targets
    coded = np.unique(targets, return_inverse=True)[1]
    if task.kind == "texts":
        if name == "TF-IDF + logistic regression":
            plain, notes = tfidf(split, seed)
            return Model(lambda rows: plain.predict_proba(rows.iloc[:, 0]), notes=notes)
        chosen = text_rival(name, seed).fit(inputs.iloc[:, 0], coded)
        return Model(
            lambda rows: chosen.predict_proba(rows.iloc[:, 0]),
            notes={"C": chosen.best_params_["logisticregression__C"]},
        )
    model = table_rival(name, inputs, coded, seed=seed, threads=threads).fit(inputs, coded)
    return Model(model.predict_proba)


def measured(what: dict[str, Any]) -> list[dict[str, Any]]:
    """Train, predict the test rows, and return the line; two for the model with two decisions."""
    name, seed, task = what["method"], what["seed"], TASKS[what["task"]]
    split = task.split(seed, Path(what["data"]), smoke=what["smoke"])
    clock = Clock()
    if is_ours(name):
        model = fit_ours(name, task, split, seed, smoke=what["smoke"])
    else:
        model = fit_rival(name, task, split, seed, what["threads"])
    trained = clock.lap()
    test = split.test
    found = np.asarray(model.answer(test.inputs), dtype=np.float64)
    predicted = clock.lap()
    found /= found.sum(axis=1, keepdims=True)
    most = found.argmax(axis=1)
    decisions = {name: most if model.decide is None else model.decide(test.inputs)}
    if name == OURS:
        decisions[ARGMAX] = most
    costs = {
        **{f"train_{unit}": value for unit, value in trained.items()},
        **{f"predict_{unit}": value for unit, value in predicted.items()},
        "peak_mib": round(peak_bytes() / 2**20),
        "rows": [len(split.train), len(test)],
        "notes": {key: value for key, value in model.notes.items() if value is not None},
    }
    return [
        {"method": method, **costs, **scores(found, chosen, test, split.train)}
        for method, chosen in decisions.items()
    ]


def scores(
    probabilities: np.ndarray, decisions: np.ndarray, test: Rows, train: Rows
) -> dict[str, float | None]:
    """Return every metric, the recall of the rarest classes, and the Brier score of the prior.

    The latter weighs the test rows of a class so that it is as frequent as in training: on balanced
    test rows probabilities that speak of the natural prior cannot be judged otherwise.
    """
    classes, counts = np.unique(train.targets, return_counts=True)
    targets = np.searchsorted(classes, test.targets)
    metrics = WeightedMetrics(Predictions(probabilities, decisions, targets), counts)
    tested = np.bincount(targets, minlength=len(classes))
    share = (counts / counts.sum()) / (tested / tested.sum())
    plain, natural = np.ones((1, len(targets))), share[targets][None]
    found = {key: float(value[0]) for key, value in metrics(plain).items()}
    found["natural_brier"] = float(metrics(natural)["brier"][0])
    if len(classes) > 2:
        right = np.bincount(targets, decisions == targets, minlength=len(classes)) / tested
        found["tail3_recall"] = float(right[np.argsort(counts, kind="stable")[:TAIL]].mean())
    return {key: None if np.isnan(value) else round(value, 5) for key, value in found.items()}


def lines_of(what: dict[str, Any]) -> list[dict]:
    if what["task"] in CASES:
        return rounds(what["task"], what["seed"], Path(what["data"]), smoke=what["smoke"])
    return measured(what)


if __name__ == "__main__":
    write_lines(lines_of, VERSIONS)
