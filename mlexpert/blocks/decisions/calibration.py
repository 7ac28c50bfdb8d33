"""Natural probabilities of a model that was trained on another prior: temperature and strength.

A model whose classes had weights w_k in training says p_k w_k, normalised. Dividing by w_k gives
p_k back where the model has learned the weights' whole effect. A network that is stopped early has;
one that goes on until it fits all its rows has lost most of it again (Byrd and Lipton 2019). So the
correction has a strength s, and

    p = softmax(logits / T - s log w).

Both numbers are those of the highest likelihood on validation.

Papers: Saerens et al. 2002, doi:10.1162/089976602753284446, equation 4; Guo et al. 2017,
arXiv:1706.04599, section 4.2; Byrd and Lipton 2019, arXiv:1812.03372.
Differs from the papers: the strength, which is 1 in Saerens et al.; weak priors on both numbers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mlexpert.blocks.decisions.temperature import (
    HIGHEST,
    LOWEST,
    PRIOR_DEVIATION,
    fit_temperature,
    log_probabilities,
)

EXPECTED_STRENGTH, STRENGTH_DEVIATION = 0.5, 0.5
"""Mean and deviation of s in its prior: nobody knows beforehand whether a network has kept all of
the weights' effect or none. Validation without a rare class would drive s upwards without end; from
a few rows of it on, they say more than the prior."""
MOST_STEPS = 50
TOLERANCE = 1e-5


class Calibration(nn.Module):
    """The map from logits to natural probabilities, fitted on validation.

    Before that the temperature is 1, and the strength what is expected.

    Args:
        log_weight: (K,) logarithms of the weights that the classes have in the model's softmax
            beside the natural prior; None where it was trained on the natural prior.

    Example:
        >>> calibration = Calibration(torch.tensor([1.0, 9.0]).log())  # half of it is expected
        >>> logits = torch.tensor([[0.8 * 1.0, 0.2 * 3.0]]).log()
        >>> round(calibration.probabilities(logits)[0, 1].item(), 3)
        0.2
    """

    temperature: Tensor
    strength: Tensor
    log_weight: Tensor | None

    def __init__(self, log_weight: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.tensor(1.0))
        self.register_buffer("strength", torch.tensor(EXPECTED_STRENGTH))
        kept = None if log_weight is None else log_weight.detach().float().clone()
        self.register_buffer("log_weight", kept)

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Return the logarithm (N, K) of the probabilities of logits (N, K) or (N, M, K)."""
        correction = None if self.log_weight is None else self.strength * self.log_weight
        return log_probabilities(logits, self.temperature, correction)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the natural probabilities (N, K) of logits (N, K) or (N, M, K)."""
        return self.log_probabilities(logits).exp()

    @torch.no_grad()
    def fit(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        """Choose temperature and strength; arguments as in `fit_calibration`."""
        temperature, strength = fit_calibration(logits, targets, weights, self.log_weight)
        self.temperature.fill_(temperature)
        self.strength.fill_(strength)

    @property
    def fitted_strength(self) -> float | None:
        """The strength of the correction, or None where there is nothing to correct."""
        return None if self.log_weight is None else float(self.strength)


def fit_calibration(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    log_weight: Tensor | None = None,
) -> tuple[float, float]:
    """Choose the temperature and the strength that give the held-out targets the most likelihood.

    Fisher scoring in 1 / T and s, in which the likelihood of one model is concave; steps that do
    not help are halved. Priors are log T ~ N(0, 1) and s ~ N(0.5, 0.5), by mean and deviation.

    Args:
        logits: (N, K) or (N, M, K) of rows that the model was not trained on.
        targets: (N,) class indices.
        weights: (N,) how much each row counts, or None where all count alike. Their scale does not
            matter.
        log_weight: (K,) as in `Calibration`. None: there is nothing to correct.

    Returns:
        Temperature and strength; those of the priors where there are no rows, or none that counts.

    Raises:
        ValueError: If a logit is NaN or infinite.
    """
    if log_weight is None:
        return fit_temperature(logits, targets, weights), EXPECTED_STRENGTH
    if not len(logits) or (weights is not None and not weights.any()):
        return 1.0, EXPECTED_STRENGTH
    if not torch.isfinite(logits).all():
        raise ValueError("logits hold NaN or infinite values: no temperature fits them")
    wide, lean = logits.detach().double(), log_weight.double()
    share = torch.ones(len(wide), dtype=torch.float64)
    if weights is not None:  # rows weigh as much as equal rows would that vary as much (Kish 1965)
        share = weights.double() * (weights.sum() / weights.double().square().sum())
    at = torch.tensor([1.0, EXPECTED_STRENGTH], dtype=torch.float64)  # 1 / T and s
    cost, slope, bend = _expansion(at, wide, targets, share, lean)
    for _ in range(MOST_STEPS):
        step = -torch.linalg.solve(bend, slope)
        # A parabola leads astray from afar; 1 / T stays above 0 and within its bounds.
        low = max(float(at[0]) / 3, math.exp(-HIGHEST))
        high = min(float(at[0]) * 3, math.exp(-LOWEST))
        step[0] = (at[0] + step[0]).clamp(low, high) - at[0]
        step[1] = step[1].clamp(-0.5, 0.5)
        found = _expansion(at + step, wide, targets, share, lean)
        while found[0] > cost and step.abs().max() > TOLERANCE:
            step = step / 2
            found = _expansion(at + step, wide, targets, share, lean)
        if found[0] > cost:
            break
        at = at + step
        cost, slope, bend = found
        if step.abs().max() <= TOLERANCE:
            break
    return 1 / float(at[0]), float(at[1])


def _expansion(
    at: Tensor, logits: Tensor, targets: Tensor, share: Tensor, lean: Tensor
) -> tuple[float, Tensor, Tensor]:
    """Return the cost of (1 / T, s), its gradient (2,), and the Fisher information (2, 2).

    Args:
        at: 1 / T and s.
        logits: (N, K) or (N, M, K).
        targets: (N,) class indices.
        share: (N,) how many rows each row counts as.
        lean: (K,) logarithms of the class weights.
    """
    log_p = torch.log_softmax(logits * at[0], dim=-1)
    moved = logits - (log_p.exp() * logits).sum(dim=-1, keepdim=True)  # by 1 / T
    if logits.ndim == 3:
        moved = (log_p.softmax(dim=1) * moved).sum(dim=1)
        log_p = log_p.logsumexp(dim=1)
    log_p = torch.log_softmax(log_p - at[1] * lean, dim=1)
    p, rows = log_p.exp(), targets.view(-1, 1)
    mean, mean_lean = (p * moved).sum(dim=1), p @ lean
    gained = moved.gather(1, rows).squeeze(1) - mean
    slope = torch.stack([-(share @ gained), share @ (lean[targets] - mean_lean)])
    square = share @ ((p * moved * moved).sum(dim=1) - mean * mean)
    both = -(share @ ((p * moved) @ lean - mean * mean_lean))
    square_lean = share @ (p @ (lean * lean) - mean_lean * mean_lean)
    bend = torch.stack([square, both, both, square_lean]).view(2, 2)
    log_t, away = -at[0].log(), at[1] - EXPECTED_STRENGTH
    cost = -(share @ log_p.gather(1, rows).squeeze(1))
    cost = cost + 0.5 * ((log_t / PRIOR_DEVIATION) ** 2 + (away / STRENGTH_DEVIATION) ** 2)
    slope = slope + torch.stack([-log_t / at[0] / PRIOR_DEVIATION**2, away / STRENGTH_DEVIATION**2])
    weak = torch.stack([(at[0] * PRIOR_DEVIATION) ** -2, at.new_tensor(STRENGTH_DEVIATION**-2)])
    return float(cost), slope, bend + weak.diag()
