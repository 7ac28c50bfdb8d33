"""The nearest point of a hyperplane inside a box, in L-inf or L2.

Paper: Croce & Hein 2020, arXiv:1907.02044, section 3.1 and appendix A, where it is found by
sorting; here by Newton's method, which ends at the same point and costs a few passes.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MOST_STEPS = 30
"""Newton steps; three to eight are usual, and D would be the limit."""


def onto_hyperplane(
    at: Tensor, normal: Tensor, value: Tensor, low: Tensor, high: Tensor, budgets: Tensor | None
) -> Tensor:
    """Return the shortest move of each row to where `value + normal * move` is 0, inside a box.

    What is gained by a radius r is sum_i |n_i| min(r s_i, room_i), with s_i a budget in L-inf and
    |n_i| in L2: concave and piecewise linear in r, with bends at room_i / s_i. Newton's method from
    0 stays on the near side of the solution, and passes at least one bend with every step.

    Args:
        at: (B, D) points inside the box.
        normal: (B, D) gradient of a linear function.
        value: (B,) of that function at the points.
        low: Smallest coordinates, broadcast against (B, D).
        high: Largest coordinates.
        budgets: Unit of L-inf in each coordinate, broadcast against (B, D); None: L2.

    Returns:
        Moves (B, D). Where the hyperplane is outside the box, the one that comes nearest to it.
    """
    side = (normal * -value.sign()[:, None]).sign()
    # Of the room on both sides, the one that the move goes to: where the other is none or less.
    # Torch's `where` takes ten times a product's time on a CPU, and here is most of what FAB costs.
    room = torch.maximum((high - at) * side, (low - at) * side)
    room = room.nan_to_num_(0.0, torch.inf).clamp_min_(0)  # a box may be without end
    size = normal.abs()
    speed = size if budgets is None else budgets.expand_as(size)
    # A coordinate that does not move has its bend anywhere: it has no weight.
    weight, bend = size * speed, room / speed.clamp_min(torch.finfo(speed.dtype).tiny)
    wanted = value.abs()
    radius, passes = torch.zeros_like(wanted), torch.empty_like(bend)
    for _ in range(_MOST_STEPS):
        reached = radius[:, None]
        gained = torch.minimum(bend, reached, out=passes).mul_(weight).sum(dim=1)
        slope = torch.gt(bend, reached, out=passes).mul_(weight).sum(dim=1)
        # Where nothing is free, all that there was to gain is gained.
        longer = torch.where(slope > 0, (wanted - gained) / slope, 0.0)
        further = longer > 1e-6 * radius
        if not bool(further.any()):
            break
        radius = radius + torch.where(further, longer, 0.0)
    return torch.minimum(radius[:, None] * speed, room) * side
