"""Who is measured on which task, and how often: ours, what it becomes on a GPU, and the rivals."""

from __future__ import annotations

from typing import Any

import torch
from tasks import FOLDS, TASKS

SEEDS = 3
"""Trainings on an official split; elsewhere one on each fold."""
SHORT = 3
"""Epochs in which image-cls and the usual loop are compared on a CPU."""
FEW = 5
"""Epochs of image-cls on MNIST, where a processor without bf16 has no hour for sixteen."""
LOOP = f"DataLoader loop, {SHORT} epochs"
TFIDF = "TF-IDF + logistic regression"
REALMLP, TABM = "pytabkit RealMLP", "pytabkit TabM"
BOOSTING = ("XGBoost", "LightGBM", "HistGradientBoosting")

IMAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "image-cls/fast": ("image-cls/fast", {}),
    "image-cls": ("image-cls", {}),
    f"image-cls, {SHORT} epochs": ("image-cls", {"epochs": SHORT}),
    f"image-cls, {FEW} epochs": ("image-cls", {"epochs": FEW}),
    # What only a GPU has the time for: 20 layers, four times the channels of the paper's.
    "image-cls, 200 epochs": (
        "image-cls",
        {"depth": 20, "width": 64, "epochs": 200, "shift": 4, "cutmix": 1.0},
    ),
    "image-cls/fast, compiled": ("image-cls/fast", {"compile": True}),
}
"""Recipe and fields of each of ours on images."""
ON_GPU = {"image-cls, 200 epochs", "image-cls/fast, compiled"}
ENSEMBLE = {"phoneme", "mammography"}
"""Tables on which the ensemble of five folds is measured too."""

RUNS_ON_CPU: dict[tuple[str, str], int] = {
    (REALMLP, "adult"): 1,
    (REALMLP, "bank-marketing"): 0,
    (REALMLP, "credit-default"): 0,
    (REALMLP, "mammography"): 0,
    (REALMLP, "california-housing"): 2,
    (TABM, "adult"): 1,
    (TABM, "bank-marketing"): 0,
    (TABM, "credit-default"): 0,
    (TABM, "phoneme"): 2,
    (TABM, "mammography"): 0,
    (TABM, "california-housing"): 1,
}
"""Seeds or folds of a method at most where it is slow; on a GPU all run. On one thread, RealMLP
takes 6 minutes on adult and 3 on California housing; TabM takes 26 and 53 there, and 12 to 18 on
a fold of phoneme."""


def ours(task: str) -> str:
    """Return the name of ours that the others of a task are compared with."""
    known = TASKS[task]
    if known.kind == "tables":
        return "tabular-reg" if known.numbers else "tabular-cls"
    return {"images": "image-cls/fast", "texts": "text-cls"}[known.kind]


def ensemble(task: str) -> str:
    """Return the name of ours with `folds=`."""
    return f"{ours(task)}, folds={FOLDS}"


def methods(task: str) -> dict[str, int]:
    """Return the methods that this machine measures on a task, with the number of runs of each."""
    known = TASKS[task]
    if known.kind == "images":
        short = {
            "cifar-10": [f"image-cls, {SHORT} epochs", LOOP],
            "mnist": [f"image-cls, {FEW} epochs"],
        }.get(task, [])
        names = ["image-cls/fast", "image-cls", *short]
        if torch.cuda.is_available() and task == "cifar-10":
            names += sorted(ON_GPU)
    elif known.kind == "texts":
        names = [ours(task), TFIDF]
    else:
        names = [ours(task), *([ensemble(task)] if task in ENSEMBLE else [])]
        names += [*BOOSTING, "random forest", REALMLP, TABM]
    whole = SEEDS if known.is_official else FOLDS
    counts = {name: min(whole, _most(name, task)) for name in names}
    return {name: count for name, count in counts.items() if count}


def is_ours(name: str) -> bool:
    """Return whether a method is one of mlexpert's recipes."""
    return name.startswith(("image-cls", "text-cls", "tabular-"))


def _most(name: str, task: str) -> int:
    return FOLDS if torch.cuda.is_available() else RUNS_ON_CPU.get((name, task), FOLDS)
