"""What is measured beside an attack: a sweep of epsilon, gradients, the loss about some inputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mlexpert.blocks.attacks.attacked import input_gradient, logits_at
from mlexpert.blocks.attacks.margins import cross_entropy, margin
from mlexpert.blocks.attacks.noise import uniform
from mlexpert.blocks.attacks.threat import Threat
from mlexpert.robustness.scene import CHEAP_STEPS, Scene

FACTORS = (0.25, 0.5, 1.0, 1.5, 2.0)
"""Of epsilon, in the sweep."""


def sweep_of(scene: Scene) -> tuple[tuple[dict[str, float], ...], Tensor]:
    """Return the accuracy of some rows under a cheap attack, from no epsilon to twice the one.

    Returns:
        Rows of "epsilon" and "accuracy"; and (n,) whether the threat itself broke the sampled rows.
    """
    rows = scene.sample()
    clean = float(scene.outcome.clean_correct[rows].double().mean())
    points, at_threat = [{"epsilon": 0.0, "accuracy": clean}], rows.bool()
    for factor in FACTORS:
        threat = scene.threat.scaled(factor)
        if scene.has_gradient:
            broken = scene.by_gradient(rows, threat, CHEAP_STEPS)
        else:
            broken = scene.by_queries(rows, threat, 5 * CHEAP_STEPS)
        at_threat = broken if factor == 1.0 else at_threat
        accuracy = 1 - float(broken.double().mean())
        points.append({"epsilon": factor * scene.epsilon, "accuracy": accuracy})
    return tuple(points), at_threat


def _against(logits: Tensor, objective: Callable[..., Tensor], targets: Tensor) -> Tensor:
    return objective(logits, targets)


def zero_gradients(scene: Scene) -> float | None:
    """Return the share of some rows at which the cross-entropy has no slope; None if unknown."""
    rows = scene.correct()
    if not scene.has_gradient or not len(rows):
        return None
    return float((gradients(scene, rows, cross_entropy) == 0).all(dim=1).double().mean())


def gradients(scene: Scene, rows: Tensor, objective: Callable[..., Tensor]) -> Tensor:
    """Return the gradient (n, D) of an objective at rows (n,), of the values that may be moved."""
    found = []
    for cut in rows.split(scene.batch_size):
        of_logits = partial(_against, objective=objective, targets=scene.targets[cut])
        gradient, _, _ = input_gradient(scene.model, scene.inputs[cut], of_logits)
        found.append(gradient.flatten(1))
    gradient, epsilon = torch.cat(found), scene.threat.epsilon
    if isinstance(epsilon, Tensor) and epsilon.numel() > 1:
        return gradient[:, epsilon.flatten() > 0]
    return gradient


def landscape(scene: Scene, *, size: int = 11, most: int = 8) -> dict[str, Any] | None:
    """Return the mean loss about some rows, along the gradient and a random direction.

    Args:
        scene: What is looked at.
        size: Points of each side of the grid.
        most: Rows.

    Returns:
        "span", by which both directions reach to either side in the unit of epsilon, and "losses"
        (size, size): down the rows the random direction, across the columns the gradient's. None
        where there is no gradient.
    """
    rows = scene.correct(most)
    if not scene.has_gradient or not len(rows):
        return None
    inputs, true, threat = scene.inputs[rows], scene.targets[rows], scene.threat.to(scene.inputs)
    slope, _, _ = input_gradient(scene.model, inputs, lambda logits: margin(logits, true))
    along, across = _step(threat, slope), threat.random_start(inputs, _noise(scene, rows)) - inputs
    across = _step(threat, across)
    marks = torch.linspace(-1, 1, size).tolist()
    low, high = (torch.as_tensor(one).to(inputs) for one in (threat.low, threat.high))
    losses = []
    for down in marks:
        moved = [torch.clamp(inputs + down * across + over * along, low, high) for over in marks]
        found = cross_entropy(logits_at(scene.model, torch.cat(moved)), true.repeat(size))
        losses.append(found.view(size, -1).double().mean(dim=1).tolist())
    return {"span": scene.epsilon, "losses": losses}


def _step(threat: Threat, direction: Tensor) -> Tensor:
    """Return the step of the whole radius in a direction, as the norm measures it."""
    radius = threat.epsilon
    has_budgets = isinstance(radius, Tensor) and radius.numel() > 1
    return threat.ascend(direction, 1.0 if has_budgets else float(radius))


def _noise(scene: Scene, rows: Tensor) -> Tensor:
    shape, dtype = scene.inputs.shape[1:], scene.inputs.dtype
    return uniform(rows, shape, seed=scene.seed, stream=2_000).to(dtype)
