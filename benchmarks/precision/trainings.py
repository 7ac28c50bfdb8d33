"""Whole trainings with equal seeds in fp32 and in bf16: what the arithmetic does to quality."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from mlexpert.recipes import get

PRECISIONS = ("fp32", "bf16")
METRICS = ("pr_auc", "roc_auc", "balanced_accuracy", "argmax_balanced_accuracy", "brier")
CURVE = "calibrated_log_loss"
TASKS: dict[str, Callable[[Path], tuple[Any, dict[str, str]]]] = {
    "demo images": lambda data: ("demo", {}),
    "phoneme": lambda data: (pd.read_parquet(data / "phoneme.parquet"), {"target": "class"}),
    "mammography": lambda data: (
        pd.read_parquet(data / "mammography.parquet"),
        {"target": "class"},
    ),
    "TREC": lambda data: (
        pd.read_parquet(data / "trec_train.parquet"),
        {"target": "coarse_label", "inputs": "text"},
    ),
}
"""What is trained on, and the roles of its columns, for each task."""


def train(task: str, precision: str, seed: int, data: Path, fields: dict[str, int]) -> dict:
    """Train once with the recipe's own defaults; return curve, validation metrics and CPU time."""
    rows, roles = TASKS[task](data)
    with tempfile.TemporaryDirectory() as folder:
        recipe = get("imbalanced-cls", seed=seed, precision=precision, **fields)
        started = time.process_time()
        fitted = recipe.fit(rows, run_dir=folder, progress=False, leakage="report", **roles)
        seconds = time.process_time() - started
        lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").open()]
        scores = fitted.evaluate()
        best = fitted.facts["best"]
        return {
            "task": task,
            "precision": precision,
            "seed": seed,
            "cpu_seconds": round(seconds, 1),
            "best_epoch": best["epoch"],
            CURVE: round(best[CURVE], 5),
            **{name: round(scores[name], 5) for name in METRICS},
            "curve": [round(line[CURVE], 5) for line in lines if line["split"] == "validation"],
        }
