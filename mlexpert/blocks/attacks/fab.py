"""FAB: to the nearest point at which the decision changes, and not only to some point in the ball.

Each iteration takes the boundary between two classes as linear and goes to it, a bit too far, drawn
a little towards where the input itself would go; from a point on the wrong side it comes back.

Paper: Croce & Hein 2020, arXiv:1907.02044, algorithm 1, targeted as in its section 3.5.
Differs from the paper: a row stops at the first broken point inside the ball; after a biased step
back the boundary is that which was seen from the point before it, which saves a forward pass an
iteration; the final search asks for the two points that matter, those of the ball that are nearest
to the best point and on the way to it; nothing is drawn, as there is one start, the input.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mlexpert.blocks.attacks.apgd import likeliest_others
from mlexpert.blocks.attacks.attacked import Model, attacked, input_gradient, logits_at
from mlexpert.blocks.attacks.dlr import targeted_margin
from mlexpert.blocks.attacks.hyperplane import onto_hyperplane
from mlexpert.blocks.attacks.margins import is_broken
from mlexpert.blocks.attacks.threat import SMALLEST, Threat
from mlexpert.errors import InputError

MOST_BIAS = 0.1
"""Largest weight of the point that the input would go to; alpha_max in the paper."""
EXTRAPOLATION = 1.05
"""Length of a step over that to the boundary; eta in the paper."""
BACK = 0.9
"""Share of the way from the input that is left after a step back; beta in the paper."""
_INSIDE = 1 - 1e-5
"""Radius of the ball that a point is inside of for certain, whatever was rounded."""


def fab_targeted(
    model: Model,
    inputs: Tensor,
    targets: Tensor,
    threat: Threat,
    *,
    steps: int = 100,
    num_targets: int = 9,
) -> Tensor:
    """Return the inputs (B, ...) that FAB broke inside the ball; others as near as it came.

    Args:
        model: Maps inputs to logits (B, K); left as it was.
        inputs: (B, ...) inside the box of the threat.
        targets: (B,) class indices, the true ones.
        threat: What the attacker may do; "linf" or "l2".
        steps: Iterations towards each class, each a forward and a backward pass.
        num_targets: Other classes, from the likeliest on; at most K - 1.

    Raises:
        InputError: If the norm is "l1", or the model has no gradient.
    """
    if threat.norm == "l1":
        raise InputError("FAB has no L1 version here; take norm='linf' or 'l2'.")
    threat, found = threat.to(inputs), inputs.clone()
    with attacked(model):
        logits = logits_at(model, inputs)
        left = (~is_broken(logits, targets)).nonzero().squeeze(1)
        for others in likeliest_others(logits, targets, num_targets).unbind(1):
            if not len(left):
                break
            labels = torch.stack([targets, others], dim=1)[left]
            found[left], fell = _towards(model, inputs[left], labels, threat, steps)
            left = left[~fell]
    return found


def _towards(
    model: Model, inputs: Tensor, labels: Tensor, threat: Threat, steps: int
) -> tuple[Tensor, Tensor]:
    """Return points (B, ...) inside ball and box on the way to a class, and which broke (B,)."""
    rows = torch.arange(len(inputs), device=inputs.device)
    best, nearest = inputs.clone(), torch.full((len(inputs),), torch.inf, device=inputs.device)
    at, clean, pair = inputs, inputs, labels
    for _ in range(steps):
        normal, value, logits = input_gradient(model, at, _ahead(pair))
        wrong, far = is_broken(logits, pair[:, 0]), _in_radii(at - clean, threat)
        better = wrong & (far < nearest[rows])
        best[rows[better]], nearest[rows[better]] = at[better], far[better].to(nearest.dtype)
        on = nearest[rows] > _INSIDE
        if not bool(on.all()):
            parts = (rows, at, clean, pair, normal, value, wrong)
            rows, at, clean, pair, normal, value, wrong = (one[on] for one in parts)
        if not len(rows):
            break
        at = _step(at, clean, normal, value, wrong, threat)
    return _final_search(model, best, nearest, inputs, labels[:, 0], threat)


def _step(
    at: Tensor, inputs: Tensor, normal: Tensor, value: Tensor, wrong: Tensor, threat: Threat
) -> Tensor:
    """Return the next points (B, ...), equations 9 and 10, after a step back of what is wrong."""
    seen, clean, normal = at.flatten(1), inputs.flatten(1), normal.flatten(1)
    back = torch.lerp(clean, seen, torch.where(wrong, BACK, 1.0)[:, None])
    low, high = (_flat(one, inputs) for one in (threat.low, threat.high))
    budgets = _flat(threat.epsilon, inputs) if threat.norm == "linf" else None
    points, moves, lengths = (back, clean), [], []
    for point in points:
        there = value + ((point - seen) * normal).sum(dim=1)
        move = onto_hyperplane(point, normal, there, low, high, budgets)
        moves.append(move)
        lengths.append(_in_radii(move.view_as(inputs), threat))
    bias = (lengths[0] / (lengths[0] + lengths[1]).clamp_min(SMALLEST)).clamp_max(MOST_BIAS)
    here, home = (point + EXTRAPOLATION * move for point, move in zip(points, moves, strict=True))
    return torch.clamp(torch.lerp(here, home, bias[:, None]), low, high).view_as(inputs)


def _final_search(
    model: Model, best: Tensor, nearest: Tensor, inputs: Tensor, targets: Tensor, threat: Threat
) -> tuple[Tensor, Tensor]:
    """Return the best points inside the ball (B, ...), and which of them are broken (B,)."""
    share = (_INSIDE / nearest.clamp_min(SMALLEST)).clamp_max(1.0).to(inputs.dtype)
    on_the_way = torch.lerp(inputs.flatten(1), best.flatten(1), share[:, None]).view_as(inputs)
    ends = threat.project(best, inputs)
    broken = is_broken(logits_at(model, ends), targets)
    near = torch.isfinite(nearest) & ~broken
    if bool(near.any()):
        other = threat.project(on_the_way[near], inputs[near])
        falls = is_broken(logits_at(model, other), targets[near])
        places = near.nonzero().squeeze(1)[falls]
        ends[places], broken[places] = other[falls], True
    return ends, broken


def _ahead(pair: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda logits: targeted_margin(logits, pair[:, 0], pair[:, 1])


def _in_radii(change: Tensor, threat: Threat) -> Tensor:
    """Return the lengths (B,) of changes (B, ...), in units of epsilon."""
    flat = change.flatten(1)
    if threat.norm == "l2":
        return flat.norm(dim=1) / max(float(threat.epsilon), SMALLEST)
    return (flat.abs() / _flat(threat.epsilon, change).clamp_min(SMALLEST)).amax(dim=1)


def _flat(value: float | Tensor, inputs: Tensor) -> Tensor:
    """Return one number, or one for each coordinate (1, D) of inputs (B, ...)."""
    value = torch.as_tensor(value, dtype=inputs.dtype, device=inputs.device)
    return value if value.ndim == 0 else value.expand(inputs.shape[1:]).reshape(1, -1)
