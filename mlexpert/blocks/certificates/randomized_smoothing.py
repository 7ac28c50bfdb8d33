"""Randomised smoothing: the most frequent answer under Gaussian noise, and how far it holds.

The smoothed classifier g(x) answers with the class that the model gives most often to x + noise,
noise ~ N(0, sigma^2 I). Its answer is the same within an L2 ball around x, whose radius is known
with a probability of 1 - alpha, for any model.

Paper: Cohen et al. 2019, arXiv:1902.02918, theorem 1 and the functions CERTIFY and PREDICT.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlexpert.blocks.attacks.attacked import Model
from mlexpert.blocks.certificates.noisy_votes import MOST_DRAWS, Noise, noisy_votes
from mlexpert.errors import InputError

ABSTAINS = -1
"""The class where nothing can be said with the confidence that was asked for."""


@dataclass(frozen=True)
class Certified:
    """What is known of the smoothed classifier at each input.

    Attributes:
        classes: (B,) int64 its class, -1 where it abstains.
        radius: (B,) float64 L2 radius in input units within which the class holds; 0 where it
            abstains.
        counts: (B, K) int64 how often the model gave each class, in the draws that the radius rests
            on.
    """

    classes: Tensor
    radius: Tensor
    counts: Tensor


def certify(
    model: Model,
    inputs: Tensor,
    *,
    sigma: float,
    num_select: int = 100,
    num_estimate: int = 10_000,
    alpha: float = 0.001,
    seed: int = 0,
    ids: Tensor | None = None,
    rows: int = 1000,
) -> Certified:
    """Return class and certified radius of the smoothed classifier at each input.

    The class is chosen on some draws and its probability bounded on others. The radius is
    sigma Phi^-1(p), p the lower bound: equation 3 with 1 - p for the second class. Noisy inputs are
    not clipped to a box. Each input's certificate is wrong with a probability of at most alpha.

    Args:
        model: A module is looked at in eval mode and put back as it was.
        inputs: (B, ...) floats.
        sigma: Standard deviation of the noise, in input units.
        num_select: Draws that choose the class; n_0 in the paper.
        num_estimate: Draws that bound its probability; n in the paper. The largest radius grows
            with them.
        alpha: Probability of a wrong certificate.
        seed: Of the noise.
        ids: (B,) int64 that key the noise. None: 0 to B - 1.
        rows: Noisy inputs that are looked at together; it changes no noise.

    Raises:
        InputError: If a number cannot be meant, or the model's logits are not finite.
    """
    from scipy.special import ndtri  # the inverse of the normal distribution's function

    draws = num_select + num_estimate
    _check(sigma, alpha, num_select=num_select, num_estimate=num_estimate, draws=draws, rows=rows)
    ids, noise = _named(inputs, ids), Noise(sigma, seed)
    chosen = noisy_votes(model, inputs, ids, noise, range(num_select), rows).argmax(dim=1)
    counts = noisy_votes(model, inputs, ids, noise, range(num_select, draws), rows)
    hits = counts.gather(1, chosen[:, None]).squeeze(1)
    lower = lower_bound(hits.cpu().numpy(), num_estimate, alpha)
    holds = lower > 0.5
    radius = torch.from_numpy(np.where(holds, sigma * ndtri(lower), 0.0)).to(inputs.device)
    classes = chosen.where(torch.from_numpy(holds).to(inputs.device), ABSTAINS)
    return Certified(classes, radius, counts)


def smoothed_decisions(
    model: Model,
    inputs: Tensor,
    *,
    sigma: float,
    num_samples: int = 1000,
    alpha: float = 0.001,
    seed: int = 0,
    ids: Tensor | None = None,
    rows: int = 1000,
) -> Tensor:
    """Return the smoothed classifier's class (B,) at each input, -1 where it abstains.

    It answers where the two most frequent classes differ by a two-sided binomial test at level
    alpha; an answer is then wrong with a probability of at most alpha (proposition 2).

    Args:
        model: As for `certify`.
        inputs: (B, ...) floats.
        sigma: Standard deviation of the noise, in input units.
        num_samples: Draws for each input.
        alpha: Probability of an answer that is not the smoothed classifier's.
        seed: Of the noise.
        ids: (B,) int64 that key the noise. None: 0 to B - 1.
        rows: Noisy inputs that are looked at together; it changes no noise.

    Raises:
        InputError: As for `certify`.
    """
    from scipy.stats import binom

    _check(sigma, alpha, num_samples=num_samples, rows=rows)
    ids, noise = _named(inputs, ids), Noise(sigma, seed)
    counts = noisy_votes(model, inputs, ids, noise, range(num_samples), rows)
    if counts.shape[1] < 2:
        raise InputError("The model has one logit, and a class is decided between two and more.")
    top, classes = counts.topk(2, dim=1)
    first, second = top.cpu().numpy().T
    p_value = np.minimum(1.0, 2 * binom.sf(first - 1, first + second, 0.5))
    is_sure = torch.from_numpy(p_value <= alpha).to(inputs.device)
    return classes[:, 0].where(is_sure, ABSTAINS)


def lower_bound(hits: np.ndarray, trials: int, alpha: float) -> np.ndarray:
    """Return the one-sided lower bounds (B,) of probabilities, each at a level of 1 - alpha.

    Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404: exact, for any number of trials.

    Args:
        hits: (B,) int64 successes.
        trials: Of each.
        alpha: Probability that a bound is above the true value.
    """
    from scipy.stats import beta

    found = beta.ppf(alpha, np.maximum(hits, 1), trials - hits + 1)
    return np.where(hits == 0, 0.0, found)


def _named(inputs: Tensor, ids: Tensor | None) -> Tensor:
    """Return what keys the noise (B,) of each input.

    Raises:
        InputError: If there is no input, or not one number for each.
    """
    if not len(inputs):
        raise InputError("There are no inputs to certify.")
    ids = torch.arange(len(inputs)) if ids is None else ids
    if ids.shape != (len(inputs),):
        raise InputError(f"ids are {tuple(ids.shape)}; give one for each of {len(inputs)} inputs.")
    return ids.to(inputs.device)


def _check(sigma: float, alpha: float, **counts: int) -> None:
    """Refuse numbers that cannot be meant.

    Raises:
        InputError: Naming the first one.
    """
    if not 0 < sigma < math.inf:
        raise InputError(f"sigma={sigma!r}; it takes a number above 0, in the inputs' unit.")
    if not 0 < alpha < 1:
        raise InputError(f"alpha={alpha!r}; it takes a probability between 0 and 1.")
    for name, count in counts.items():
        if not 1 <= count < MOST_DRAWS:
            raise InputError(f"{name}={count!r}; it takes a number from 1 to {MOST_DRAWS - 1:,}.")
