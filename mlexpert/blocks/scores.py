"""The scores of a classifier for its learning curves, cheap enough for every epoch."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mlexpert.blocks.decisions.temperature import fit_temperature

MOST_LOGITS = 200_000
"""Of a larger validation split every n-th row is taken, so that a temperature costs no time."""


def classification_scores(
    logits: Tensor, targets: Tensor, *, decide: Callable[[Tensor], Tensor]
) -> dict[str, float]:
    """Score logits by themselves and by the decisions that a rule takes on them.

    Args:
        logits: (N, K).
        targets: (N,) class indices.
        decide: Maps logits (N, K) to classes (N,).

    Returns:
        `log_loss` in nats, `calibrated_log_loss` after the best temperature, `accuracy` and
        `balanced_accuracy` of the rule, and `argmax_balanced_accuracy`.
    """
    decisions = decide(logits)
    return {
        "log_loss": F.cross_entropy(logits, targets).item(),
        "calibrated_log_loss": _calibrated_log_loss(logits, targets),
        "accuracy": (decisions == targets).float().mean().item(),
        "balanced_accuracy": _balanced(decisions, targets, logits.shape[1]),
        "argmax_balanced_accuracy": _balanced(logits.argmax(dim=1), targets, logits.shape[1]),
    }


def _calibrated_log_loss(logits: Tensor, targets: Tensor) -> float:
    """Return the loss that a temperature will leave: what overconfidence alone costs is mendable.

    By the raw loss an epoch is chosen for its confidence, long before the ranking is best (Berta et
    al. 2025, arXiv:2501.19195).
    """
    if not torch.isfinite(logits).all():
        return math.nan
    step = -(-logits.numel() // MOST_LOGITS)
    logits, targets = logits[::step], targets[::step]
    return F.cross_entropy(logits / fit_temperature(logits, targets), targets).item()


def _balanced(decisions: Tensor, targets: Tensor, num_classes: int) -> float:
    """Return the mean recall over the classes that occur."""
    rows = torch.bincount(targets, minlength=num_classes)
    hits = torch.bincount(targets[decisions == targets], minlength=num_classes)
    return (hits[rows > 0] / rows[rows > 0]).mean().item()
