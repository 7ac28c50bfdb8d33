"""Temperature scaling: one number makes confidences honest and changes no ranking.

Paper: Guo et al. 2017, arXiv:1706.04599, section 4.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

LOWEST, HIGHEST = math.log(0.02), math.log(50.0)
GRID_SIZE = 41
PRIOR_DEVIATION = 1.0
"""Deviation of log T in its prior. It weighs less than one example; without it, validation rows
that are all classified correctly would drive T to zero and every confidence to 1."""


def log_probabilities(logits: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
    """Return the logarithm of softmax(logits / temperature).

    Args:
        logits: (N, K), or (N, M, K) for M members of an ensemble, whose probabilities are averaged.
        temperature: Scalar above 0; 1 changes nothing.

    Returns:
        (N, K), in float32 or the logits' own type where that is wider.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    log_p = torch.log_softmax(wide / temperature, dim=-1)
    if log_p.ndim == 3:
        log_p = log_p.logsumexp(dim=1) - math.log(log_p.shape[1])
    return log_p


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """Choose the temperature that gives the held-out targets the highest likelihood.

    The search runs over log T between 0.02 and 50: a grid, which a second minimum does not mislead,
    then a golden-section search around its best point.

    Args:
        logits: (N, K) or (N, M, K) of rows that the model was not trained on.
        targets: (N,) class indices.

    Returns:
        The temperature; 1.0 where there are no rows.

    Raises:
        ValueError: If a logit is NaN or infinite.
    """
    if not len(targets):
        return 1.0
    if not torch.isfinite(logits).all():
        raise ValueError("logits hold NaN or infinite values: no temperature fits them")
    logits = logits.detach().double()
    rows = targets.view(-1, 1)

    def cost(log_t: float) -> float:
        log_p = log_probabilities(logits, math.exp(log_t))
        return -log_p.gather(1, rows).sum().item() + 0.5 * (log_t / PRIOR_DEVIATION) ** 2

    width = (HIGHEST - LOWEST) / (GRID_SIZE - 1)
    best = min((LOWEST + width * step for step in range(GRID_SIZE)), key=cost)
    return math.exp(_golden_section(cost, max(LOWEST, best - width), min(HIGHEST, best + width)))


def _golden_section(
    cost: Callable[[float], float], low: float, high: float, tolerance: float = 1e-6
) -> float:
    """Return the minimum of a function with a single one between `low` and `high`."""
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    cost_left, cost_right = cost(left), cost(right)
    while high - low > tolerance:
        if cost_left < cost_right:
            high, right, cost_right = right, left, cost_left
            left = high - ratio * (high - low)
            cost_left = cost(left)
        else:
            low, left, cost_left = left, right, cost_right
            right = low + ratio * (high - low)
            cost_right = cost(right)
    return (low + high) / 2.0
