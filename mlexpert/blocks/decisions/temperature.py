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


def log_probabilities(
    logits: Tensor, temperature: Tensor | float = 1.0, log_weight: Tensor | None = None
) -> Tensor:
    """Return the logarithm of softmax(logits / temperature).

    Args:
        logits: (N, K), or (N, M, K) for M members of an ensemble, whose probabilities are averaged.
        temperature: Scalar above 0; 1 changes nothing.
        log_weight: (K,) logarithms of the class weights that the model was trained with: its
            probabilities are divided by them, and are those of the natural prior again (Saerens et
            al. 2002, doi:10.1162/089976602753284446, equation 4). None: there were none.

    Returns:
        (N, K), in float32 or the logits' own type where that is wider.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    log_p = torch.log_softmax(wide / temperature, dim=-1)
    if log_p.ndim == 3:
        log_p = log_p.logsumexp(dim=1) - math.log(log_p.shape[1])
    return log_p if log_weight is None else torch.log_softmax(log_p - log_weight, dim=-1)


def fit_temperature(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    log_weight: Tensor | None = None,
) -> float:
    """Choose the temperature that gives the held-out targets the highest likelihood.

    Args:
        logits: (N, K) or (N, M, K) of rows that the model was not trained on.
        targets: (N,) class indices.
        weights: (N,) how much each row counts, or None where all count alike.
        log_weight: As in `log_probabilities`.

    Returns:
        The temperature; 1.0 where there are no rows.

    Raises:
        ValueError: If a logit is NaN or infinite.
    """
    rows = targets.view(-1, 1)

    def log_likelihood(wide: Tensor, temperature: float) -> Tensor:
        return log_probabilities(wide, temperature, log_weight).gather(1, rows).squeeze(1)

    return best_temperature(log_likelihood, logits, weights)


def best_temperature(
    log_likelihood: Callable[[Tensor, float], Tensor],
    logits: Tensor,
    weights: Tensor | None = None,
) -> float:
    """Choose the temperature at which the rows' log-likelihood is highest, with a weak prior.

    The search runs over log T between 0.02 and 50: a grid, which a second minimum does not mislead,
    then a golden-section search around its best point.

    Args:
        log_likelihood: Maps logits, in float64, and a temperature to the rows' values (N,).
        logits: (N, ...) of rows that the model was not trained on.
        weights: (N,) how much each row counts, or None where all count alike. Their scale does not
            matter.

    Returns:
        The temperature; 1.0 where there are no rows, or none that counts.

    Raises:
        ValueError: If a logit is NaN or infinite.
    """
    if not len(logits) or (weights is not None and not weights.any()):
        return 1.0
    if not torch.isfinite(logits).all():
        raise ValueError("logits hold NaN or infinite values: no temperature fits them")
    wide = logits.detach().double()
    # Beside the prior, rows weigh as much as equal rows would that vary as much (Kish 1965).
    share = None if weights is None else weights * (weights.sum() / weights.square().sum())

    def cost(log_t: float) -> float:
        values = log_likelihood(wide, math.exp(log_t))
        values = values if share is None else values * share
        return -values.sum().item() + 0.5 * (log_t / PRIOR_DEVIATION) ** 2

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
