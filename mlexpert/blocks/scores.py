"""The scores of a classifier for its learning curves, cheap enough for every epoch."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def classification_scores(
    logits: Tensor, targets: Tensor, *, decide: Callable[[Tensor], Tensor]
) -> dict[str, float]:
    """Score logits by themselves and by the decisions that a rule takes on them.

    Args:
        logits: (N, K).
        targets: (N,) class indices.
        decide: Maps logits (N, K) to classes (N,).

    Returns:
        `log_loss` in nats, `accuracy` and `balanced_accuracy` of the rule, and
        `argmax_balanced_accuracy`.
    """
    decisions = decide(logits)
    return {
        "log_loss": F.cross_entropy(logits, targets).item(),
        "accuracy": (decisions == targets).float().mean().item(),
        "balanced_accuracy": _balanced(decisions, targets, logits.shape[1]),
        "argmax_balanced_accuracy": _balanced(logits.argmax(dim=1), targets, logits.shape[1]),
    }


def _balanced(decisions: Tensor, targets: Tensor, num_classes: int) -> float:
    """Return the mean recall over the classes that occur."""
    rows = torch.bincount(targets, minlength=num_classes)
    hits = torch.bincount(targets[decisions == targets], minlength=num_classes)
    return (hits[rows > 0] / rows[rows > 0]).mean().item()
