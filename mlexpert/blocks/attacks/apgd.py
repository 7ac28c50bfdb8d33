"""Auto-PGD: gradient ascent that finds its own step size, against the true class or towards others.

Paper: Croce & Hein 2020, arXiv:2003.01690, section 3; targets as in section 4.
Differs from the paper: a row stops as soon as it is broken; `apgd_climb` says the rest.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mlexpert.blocks.attacks.apgd_climb import climb
from mlexpert.blocks.attacks.attacked import Model, attacked, logits_at
from mlexpert.blocks.attacks.dlr import targeted_dlr
from mlexpert.blocks.attacks.margins import cross_entropy, is_broken
from mlexpert.blocks.attacks.noise import uniform
from mlexpert.blocks.attacks.pgd import Objective
from mlexpert.blocks.attacks.threat import Threat

TargetedObjective = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps logits (B, K), true classes (B,) and wanted classes (B,) to what is raised (B,)."""


def apgd(
    model: Model,
    inputs: Tensor,
    targets: Tensor,
    threat: Threat,
    *,
    steps: int = 100,
    seed: int = 0,
    ids: Tensor | None = None,
    objective: Objective = cross_entropy,
) -> Tensor:
    """Return the worst inputs (B, ...) found from one random start.

    A row that is broken goes on no more, and one that is wrong from the beginning is not moved. Of
    the others it is the point at which the objective was highest.

    Args:
        model: Maps inputs to logits (B, K); left as it was.
        inputs: (B, ...) inside the box of the threat.
        targets: (B,) class indices.
        threat: What the attacker may do.
        steps: Steps, each a forward and a backward pass.
        seed: Of the start.
        ids: (B,) int64 names of the rows, which the starts are drawn by; None: their places.
        objective: What is raised: `cross_entropy`, `margin` or `dlr`.

    Raises:
        InputError: If the model has no gradient, or the objective needs more classes.
    """
    with attacked(model):
        broken = is_broken(logits_at(model, inputs), targets)
        return _on_each_goal(
            model, inputs, targets[None, :, None], broken, threat, steps, seed, ids, objective
        )


def apgd_targeted(
    model: Model,
    inputs: Tensor,
    targets: Tensor,
    threat: Threat,
    *,
    steps: int = 100,
    num_targets: int = 9,
    seed: int = 0,
    ids: Tensor | None = None,
    objective: TargetedObjective = targeted_dlr,
) -> Tensor:
    """Return the worst inputs (B, ...) found on the way to each of the likeliest other classes.

    Args:
        model: Maps inputs to logits (B, K); left as it was.
        inputs: (B, ...) inside the box of the threat.
        targets: (B,) class indices, the true ones.
        threat: What the attacker may do.
        steps: Steps towards each class.
        num_targets: Other classes, from the likeliest on; at most K - 1.
        seed: Of the starts.
        ids: (B,) int64 names of the rows, which the starts are drawn by; None: their places.
        objective: What is raised: `targeted_dlr`, or `targeted_margin` below 4 classes.

    Raises:
        InputError: If the model has no gradient, or the objective needs more classes.
    """
    with attacked(model):
        logits = logits_at(model, inputs)
        others = likeliest_others(logits, targets, num_targets).T
        goals = torch.stack([targets.expand_as(others), others], dim=2)
        broken = is_broken(logits, targets)
        return _on_each_goal(model, inputs, goals, broken, threat, steps, seed, ids, objective)


def likeliest_others(logits: Tensor, targets: Tensor, num: int) -> Tensor:
    """Return the classes (B, min(num, K - 1)) other than the true one, the likeliest first."""
    others = logits.scatter(1, targets[:, None], -torch.inf)
    return others.argsort(dim=1, descending=True)[:, : min(num, logits.shape[1] - 1)]


def _on_each_goal(
    model: Model,
    inputs: Tensor,
    goals: Tensor,
    broken: Tensor,
    threat: Threat,
    steps: int,
    seed: int,
    ids: Tensor | None,
    objective: Callable[..., Tensor],
) -> Tensor:
    """Return the worst inputs (B, ...), towards one goal (G, B, L) after the other."""
    threat, found = threat.to(inputs), inputs.clone()
    ids = torch.arange(len(inputs), device=inputs.device) if ids is None else ids
    worst = torch.full((len(inputs),), -torch.inf, dtype=torch.float64, device=inputs.device)
    left = (~broken).nonzero().squeeze(1)
    for stream, labels in enumerate(goals):
        if not len(left):
            break
        noise = uniform(ids[left], inputs.shape[1:], seed=seed, stream=stream).to(inputs.dtype)
        start = threat.random_start(inputs[left], noise)
        ends, values, fell = climb(
            model, inputs[left], labels[left], threat, start, steps, objective
        )
        better = fell | (values > worst[left])
        found[left[better]], worst[left[better]] = ends[better], values[better]
        left = left[~fell]
    return found
