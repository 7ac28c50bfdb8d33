"""One number of a decision rule, chosen on validation by the balanced accuracy of its decisions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

MIN_ROWS_PER_CLASS = 50
"""Below this a tuned number follows noise: thresholds strayed by .06 to .08 over the folds of the
mammography table, which have about as many positives."""
F1_ERRORS = 2.0
"""Standard errors that a gain in F1 has to be above before labels overrule the probabilities: the
best of many thresholds is above one by chance alone (benchmarks/LOG.md)."""


def rarest_class(targets: Tensor, weights: Tensor | None, num_classes: int) -> int:
    """Return how many rows that count the rarest class has."""
    counting = targets if weights is None else targets[weights > 0]
    return int(torch.bincount(counting, minlength=num_classes).min())


def tuned(
    decisions: Mapping[float, Tensor],
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    default: float,
    num_classes: int,
) -> tuple[float, float]:
    """Return the value whose decisions have the highest balanced accuracy, and its gain.

    The default stays unless the gain over it is above its standard error. Both are judged on the
    same rows, so the error is that of their paired difference; weights leave as many rows as would
    vary as much alone (Kish 1965).

    Args:
        decisions: Classes (N,) by value; the default is one of the values.
        targets: (N,) class indices, with rows of every class.
        weights: (N,) how much each row counts, or None where all count alike.
        default: The value to stay at.
        num_classes: Classes, K.

    Returns:
        The value, and the balanced accuracy that it gains over the default.
    """
    mass = torch.ones(len(targets), dtype=torch.float64) if weights is None else weights.double()

    def summed(values: Tensor) -> Tensor:  # (N,) to (K,)
        return values.new_zeros(num_classes).index_add_(0, targets, values)

    in_class = summed(mass)
    hits = {value: (chosen == targets).double() for value, chosen in decisions.items()}
    recall = {v: float((summed(hit * mass) / in_class).mean()) for v, hit in hits.items()}
    best = max(decisions, key=lambda value: (recall[value], -abs(value - default)))
    change = hits[best] - hits[default]
    mean = summed(change * mass) / in_class
    variance = summed(change.square() * mass) / in_class - mean.square()
    rows = in_class.square() / summed(mass.square())
    error = float((variance / rows).sum().sqrt()) / num_classes
    gain = recall[best] - recall[default]
    return (best, gain) if gain > error else (default, 0.0)
