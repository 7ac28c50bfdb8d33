"""Whether adversarial inputs are what the threat allows, and do what is said of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mlexpert.blocks.attacks.threat import Threat
from mlexpert.robustness.result import Check
from mlexpert.robustness.scene import Scene

SLACK = 1e-6
"""Of a distance, as a share of epsilon, and of a bound: what rounding adds."""
NAME, TITLE = "valid_inputs", "Every adversarial input is inside ball and box, and does break"


def validity_of(scene: Scene) -> tuple[dict[str, Any], Check]:
    """Measure every adversarial input, in float64, and ask the model about it once more.

    Returns:
        "largest" distance to the clean input (with budgets, of any column as a share of its own),
        "lowest" and "highest" value of an input that was moved, None where columns have units of
        their own, and the number of rows "outside"; and the check.
    """
    moved, inputs, threat = scene.outcome.adversarial, scene.inputs, scene.threat.to(scene.inputs)
    by_attack = scene.outcome.broken_by >= 0
    share, distance = _distances(threat, moved, inputs)
    outside = (share > 1 + SLACK) | ~_in_box(threat, moved)
    held = scene.wrong(moved, torch.arange(len(moved), device=moved.device))
    idle = int((by_attack & ~held).sum())
    has_units = isinstance(threat.low, Tensor) and threat.low.numel() > 1
    validity = {
        "largest": float(distance.max()),
        "lowest": None if has_units else float(moved.min()),
        "highest": None if has_units else float(moved.max()),
        "outside": int(outside.sum()),
    }
    detail = (
        f"{int(by_attack.sum())} inputs were moved, by {validity['largest']:.6g} at most; "
        f"{validity['outside']} are outside, and {idle} do not break again."
    )
    if validity["outside"]:
        return validity, Check(NAME, TITLE, "failed", detail)
    # Sums of another batch may round to the other side of a tie: a row is no finding.
    return validity, Check(NAME, TITLE, "suspect" if idle > 1 else "passed", detail)


def _distances(threat: Threat, moved: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far (N,) rows were moved, as a share of epsilon and in the record's unit."""
    if isinstance(threat.epsilon, Tensor) and threat.epsilon.numel() > 1:
        change = (moved.double() - inputs.double()).abs()
        budget = threat.epsilon.double()
        parts = torch.where(change > 0, change / budget, 0.0)  # infinite where none was allowed
        share = parts.flatten(1).amax(dim=1)
        return share, share
    distance = threat.distance(moved, inputs)
    return distance / float(threat.epsilon), distance


def _in_box(threat: Threat, moved: Tensor) -> Tensor:
    """Return (N,) whether every value is a number inside the box."""
    low, high = (torch.as_tensor(one).to(moved) for one in (threat.low, threat.high))
    slack = SLACK * (high - low)
    inside = (moved >= low - slack) & (moved <= high + slack)
    return inside.flatten(1).all(dim=1)
