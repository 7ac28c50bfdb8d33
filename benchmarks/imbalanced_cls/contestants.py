"""Who is measured on which task, and on how many of its seeds or folds."""

from __future__ import annotations

import torch
from protocol import TASKS

OURS = "imbalanced-cls"
ARGMAX = f"{OURS}, argmax"
"""Not trained: the most probable class of the same model, which is what cross-entropy decides."""
PLAIN = f"{OURS}/plain"
IN_LOSS, LDAM = f"{OURS}/logit-adjusted-loss", f"{OURS}/ldam-drw"

ON_DIGITS = (
    PLAIN,
    OURS,
    IN_LOSS,
    LDAM,
    f"{OURS}/focal",
    f"{OURS}/class-balanced",
    f"{OURS}/crt",
    f"{OURS}/tau-norm",
    f"{OURS}/class-balanced-sampling",
    f"{OURS}/remix",
    f"{OURS}/drw",
)
ON_IMAGES = (OURS, IN_LOSS, LDAM)
ON_TABLES = (OURS, IN_LOSS, f"{OURS}/smote", f"{OURS}/balanced-bagging", f"{OURS}/focal")

IMBLEARN = (
    "balanced random forest",
    "SMOTE + random forest",
    "SMOTE + logistic regression",
    "random undersampling + random forest",
    "random oversampling + logistic regression",
    "EasyEnsemble",
    "RUSBoost",
    "BalancedBagging",
)
"""Of imbalanced-learn: those that the target names."""
WEIGHTED = ("HistGradientBoosting, balanced", "XGBoost, weighted", "LightGBM, balanced")
UNTOUCHED = (
    "logistic regression",
    "random forest",
    "HistGradientBoosting",
    "XGBoost",
    "LightGBM",
)
"""Nothing is done for the rare class."""
OF_TEXTS = (
    "TF-IDF + logistic regression, balanced",
    "TF-IDF + SMOTE + logistic regression",
    "TF-IDF + random oversampling + logistic regression",
    "TF-IDF + random undersampling + logistic regression",
    "TF-IDF + logistic regression",
)

LARGE = {"adult": 5, "bank-marketing": 3, "credit-default": 3}
"""Tables on which a training of ours takes minutes, and the folds that the default trains on."""
MOST_OF_OTHERS = 1
"""Folds of a large table on which our other methods are trained: no verdict rests on them but that
of the probabilities."""
ONCE_MORE = {"adult, official test", "mammography, three seeds"}
"""Tasks that ask how far the figures of their namesake hold; few methods are measured on them."""
FIRST_RIVALS = (
    "logistic regression",
    "random forest",
    "balanced random forest",
    "SMOTE + random forest",
    "HistGradientBoosting",
    "XGBoost",
    "LightGBM",
)


def rivals(task: str) -> tuple[str, ...]:
    """Return the rivals on a task."""
    kind = TASKS[task].kind
    if kind == "images":
        return ()
    if task in ONCE_MORE:
        return FIRST_RIVALS
    return OF_TEXTS if kind == "texts" else (*UNTOUCHED, *IMBLEARN, *WEIGHTED)


def ours(task: str) -> tuple[str, ...]:
    """Return our recipes that are trained on a task."""
    if TASKS[task].kind == "images":
        return ON_DIGITS if task == "digits-lt" else ON_IMAGES
    return ON_TABLES if TASKS[task].kind == "tables" and task not in ONCE_MORE else (OURS,)


def methods(task: str) -> dict[str, tuple[int, ...]]:
    """Return the methods that this machine measures on a task, and the seeds of each."""
    known = TASKS[task]
    if known.needs_gpu and not torch.cuda.is_available():
        return {}
    found = dict.fromkeys((*ours(task), *rivals(task)), known.seeds)
    if task in LARGE:
        for name in ours(task):
            found[name] = known.seeds[: LARGE[task] if name == OURS else MOST_OF_OTHERS]
    return found


def is_ours(name: str) -> bool:
    """Return whether a method is one of mlexpert's recipes."""
    return name.startswith(OURS)
