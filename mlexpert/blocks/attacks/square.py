"""Square Attack: random search by squares, which asks the model for its logits and for no gradient.

Each query moves one square of every image to the surface of the ball, and the move stays where it
raised the margin. The squares become smaller over the queries. A gradient that is masked, rounded
or drawn at random does not help against it.

Paper: Andriushchenko et al. 2020, arXiv:1912.00049, algorithms 1 to 3.
Differs from the paper: rows of tables (B, D) have no squares, and random columns move instead. A
row stops as soon as it is broken.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlexpert.blocks.attacks.attacked import Model, attacked, logits_at
from mlexpert.blocks.attacks.margins import is_broken, margin
from mlexpert.blocks.attacks.noise import uniform
from mlexpert.blocks.attacks.square_l2 import L2
from mlexpert.blocks.attacks.square_linf import LINF
from mlexpert.blocks.attacks.square_moves import Moves
from mlexpert.blocks.attacks.threat import Threat
from mlexpert.errors import InputError

FIRST_SHARE = 0.8
"""Share of the coordinates that the first squares cover; p in the paper, as in AutoAttack."""
_HALVED_AT = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries, of 10000, after which that share is halved."""
_QUERIES_DRAWN, _NUMBERS_DRAWN = 32, 4096
"""Queries, and numbers of a row, that are drawn at once at the most."""


@torch.no_grad()
def square(
    model: Model,
    inputs: Tensor,
    targets: Tensor,
    threat: Threat,
    *,
    queries: int = 5000,
    seed: int = 0,
    ids: Tensor | None = None,
) -> Tensor:
    """Return the worst inputs (B, ...) that a random search of some queries found.

    Args:
        model: Maps inputs to logits (B, K); left as it was.
        inputs: Images (B, C, H, W), or rows (B, D), inside the box of the threat.
        targets: (B,) class indices.
        threat: What the attacker may do; "linf" or "l2".
        queries: Forward passes for a row, at the most.
        seed: Of the search.
        ids: (B,) int64 names of the rows, which the search is drawn by; None: their places.

    Raises:
        InputError: If the norm is "l1", or inputs have neither 2 nor 4 dimensions.
    """
    moves, threat = _moves(threat, inputs), threat.to(inputs)
    ids = torch.arange(len(inputs), device=inputs.device) if ids is None else ids
    found = inputs.clone()
    with attacked(model):
        left = (~is_broken(logits_at(model, inputs), targets)).nonzero().squeeze(1)
        if len(left) and queries:
            found[left] = _search(
                model, inputs[left], targets[left], threat, moves, queries, seed, ids[left]
            )
    return found


def share_of_coordinates(query: int, queries: int) -> float:
    """Return the share of the coordinates that a query moves, section 3.3."""
    done = int(query / queries * 10000)
    return FIRST_SHARE / 2 ** sum(done > after for after in _HALVED_AT)


def _search(
    model: Model,
    inputs: Tensor,
    targets: Tensor,
    threat: Threat,
    moves: Moves,
    queries: int,
    seed: int,
    ids: Tensor,
) -> Tensor:
    """Return the ends (B, ...) of a search; rows that are broken leave it."""
    ends, places = inputs.clone(), torch.arange(len(inputs), device=inputs.device)
    shape, bounds = inputs.shape[1:], threat.bounds(inputs)
    start = uniform(ids, torch.Size([moves.numbers_of_start(shape)]), seed=seed)
    tried = best = moves.start(threat, inputs, bounds, start.to(inputs.dtype))
    value = torch.full((len(inputs),), -torch.inf, device=inputs.device)
    numbers, used = torch.empty(len(inputs), 0, 0, device=inputs.device), 0
    for query in range(queries):
        logits = logits_at(model, tried)
        here, broken = margin(logits, targets), is_broken(logits, targets)
        better = here > value
        best[better] = tried[better]
        value = torch.where(better, here, value)
        if bool(broken.any()):
            ends[places[broken]] = tried[broken]
            on = ~broken
            places, ids, inputs, targets = places[on], ids[on], inputs[on], targets[on]
            best, value, numbers = best[on], value[on], numbers[on]
            bounds = (bounds[0][on], bounds[1][on])
        if not len(places):
            break
        share = share_of_coordinates(query, queries)
        if used == numbers.shape[1]:
            each, used = moves.numbers_of_move(shape, share), 0
            ahead = min(_QUERIES_DRAWN, max(_NUMBERS_DRAWN // each, 1))
            numbers = uniform(ids, torch.Size([ahead, each]), seed=seed, stream=query + 1)
        tried = moves.move(threat, inputs, bounds, best, share, numbers[:, used])
        used += 1
    ends[places] = best
    return ends


def _moves(threat: Threat, inputs: Tensor) -> Moves:
    if inputs.ndim not in (2, 4):
        raise InputError(
            f"The Square Attack moves images (B, C, H, W) or rows (B, D), not {inputs.ndim} "
            "dimensions; flatten the inputs, or leave it out."
        )
    if threat.norm == "l1":
        raise InputError("The Square Attack has no L1 version here; take norm='linf' or 'l2'.")
    return LINF if threat.norm == "linf" else L2
