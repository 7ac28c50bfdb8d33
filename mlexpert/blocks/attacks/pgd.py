"""Projected gradient descent: steps of steepest ascent of a loss, each back into the ball.

Paper: Madry et al. 2018, arXiv:1706.06083, section 2.1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mlexpert.blocks.attacks.attacked import Model, attacked, input_gradient, logits_at
from mlexpert.blocks.attacks.margins import cross_entropy, is_broken
from mlexpert.blocks.attacks.noise import uniform
from mlexpert.blocks.attacks.threat import Threat

Objective = Callable[[Tensor, Tensor], Tensor]
"""Maps logits (B, K) and classes (B,) to what is raised (B,)."""


def pgd(
    model: Model,
    inputs: Tensor,
    targets: Tensor,
    threat: Threat,
    *,
    steps: int,
    step_size: float,
    objective: Objective = cross_entropy,
    start: Tensor | None = None,
) -> Tensor:
    """Return the last iterate (B, ...) of an attack that goes its whole way on every row.

    It is the attack that training uses; to judge a model take `pgd_restarts`.

    Args:
        model: Maps inputs to logits (B, K); left as it was.
        inputs: (B, ...) inside the box of the threat.
        targets: (B,) class indices, or whatever the objective compares logits with.
        threat: What the attacker may do.
        steps: Steps, each a forward and a backward pass.
        step_size: Length of one as a share of epsilon.
        objective: What is raised.
        start: (B, ...) where to begin; None: at the inputs.

    Raises:
        InputError: If the model has no gradient.
    """
    threat, at = threat.to(inputs), inputs if start is None else start
    bounds, length = threat.bounds(inputs), step_size * threat.length
    with attacked(model):
        for _ in range(steps):
            gradient, _, _ = input_gradient(model, at, _raised(objective, targets))
            at = threat.step(at, gradient, length, inputs, bounds)
    return at


def pgd_restarts(
    model: Model,
    inputs: Tensor,
    targets: Tensor,
    threat: Threat,
    *,
    steps: int,
    step_size: float,
    restarts: int,
    seed: int,
    ids: Tensor | None = None,
    objective: Objective = cross_entropy,
) -> Tensor:
    """Return the worst inputs (B, ...) that several random starts found.

    A row that is broken goes on no more, whether an iterate broke it or it was wrong from the
    beginning. Of the others it is the end of the restart that raised the objective the most.

    Args:
        model: Maps inputs to logits (B, K); left as it was.
        inputs: (B, ...) inside the box of the threat.
        targets: (B,) class indices.
        threat: What the attacker may do.
        steps: Steps of each restart.
        step_size: Length of a step as a share of epsilon.
        restarts: Random starts.
        seed: Of the starts.
        ids: (B,) int64 names of the rows, which the starts are drawn by; None: their places.
        objective: What is raised.

    Raises:
        InputError: If the model has no gradient.
    """
    threat = threat.to(inputs)
    ids = torch.arange(len(inputs), device=inputs.device) if ids is None else ids
    found = inputs.clone()
    with attacked(model):
        logits = logits_at(model, inputs)
        worst = objective(logits, targets)
        left = (~is_broken(logits, targets)).nonzero().squeeze(1)
        for restart in range(restarts):
            if not len(left):
                break
            clean, true = inputs[left], targets[left]
            noise = uniform(ids[left], inputs.shape[1:], seed=seed, stream=restart)
            start = threat.random_start(clean, noise.to(inputs.dtype))
            ends, values, broken = _descent(
                model, clean, true, threat, start, steps, step_size, objective
            )
            better = broken | (values > worst[left])
            found[left[better]], worst[left[better]] = ends[better], values[better]
            left = left[~broken]
    return found


def _descent(
    model: Model,
    inputs: Tensor,
    targets: Tensor,
    threat: Threat,
    start: Tensor,
    steps: int,
    step_size: float,
    objective: Objective,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return where each row ended (B, ...), the objective there (B,), and whether it broke (B,)."""
    ends, values = start.clone(), torch.zeros(len(start), device=start.device)
    broken = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    at, rows = start, torch.arange(len(start), device=start.device)
    bounds, length = threat.bounds(inputs), step_size * threat.length
    for step in range(steps + 1):
        if step < steps:
            gradient, here, logits = input_gradient(model, at, _raised(objective, targets))
        else:
            logits = logits_at(model, at)
            here = objective(logits, targets)
        wrong = is_broken(logits, targets)
        if step == steps or bool(wrong.any()):
            done = wrong if step < steps else torch.ones_like(wrong)
            ends[rows[done]], values[rows[done]] = at[done], here[done].to(values.dtype)
            broken[rows[wrong]] = True
            if bool(done.all()):
                break
            on = ~done
            rows, at, inputs, targets, gradient = (
                one[on] for one in (rows, at, inputs, targets, gradient)
            )
            bounds = (bounds[0][on], bounds[1][on])
        at = threat.step(at, gradient, length, inputs, bounds)
    return ends, values, broken


def _raised(objective: Objective, targets: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda logits: objective(logits, targets)
