"""AutoAttack: a fixed ensemble without anything to tune, in an order that costs less.

Paper: Croce & Hein 2020, arXiv:2003.01690, section 5.
Differs from the paper: a short PGD on the margin goes first, and FAB, which rarely adds anything,
last; below 4 classes the plain margin takes the place of targeted DLR; in L1 there are the gradient
attacks alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from mlexpert.blocks.attacks.apgd import apgd, apgd_targeted
from mlexpert.blocks.attacks.attacked import Model, attacked, logits_at
from mlexpert.blocks.attacks.dlr import targeted_dlr, targeted_margin
from mlexpert.blocks.attacks.ensemble import Attempt, Outcome, run_attempts
from mlexpert.blocks.attacks.fab import fab_targeted
from mlexpert.blocks.attacks.margins import cross_entropy, margin
from mlexpert.blocks.attacks.pgd import pgd_restarts
from mlexpert.blocks.attacks.square import square
from mlexpert.blocks.attacks.threat import Norm, Threat

Version = Literal["standard", "quick"]
LEAST_CLASSES_OF_DLR = 4
_PGD_STEPS, _PGD_STEP_SIZE = 20, 0.1
_SIZES = {"standard": (100, 9, 5000), "quick": (30, 3, 500)}
"""Steps of each run, wanted classes, and queries."""


def auto_attack(
    model: Model, inputs: Tensor, targets: Tensor, threat: Threat, *, seed: int = 0, rows: int = 500
) -> Outcome:
    """Return what the standard ensemble did to each row.

    Args:
        model: Maps inputs to logits (B, K); left as it was.
        inputs: (N, ...) inside the box of the threat, on the model's device.
        targets: (N,) class indices.
        threat: What the attacker may do.
        seed: Of all that is drawn.
        rows: Rows that are attacked at once.

    Raises:
        InputError: If an input is outside the box, or the model has no gradient.
    """
    with attacked(model):
        num_classes = logits_at(model, inputs[:1]).shape[1]
    attempts = standard_attempts(num_classes, seed=seed, norm=threat.norm)
    return run_attempts(model, inputs, targets, threat, attempts, rows=rows)


def standard_attempts(
    num_classes: int, *, seed: int = 0, version: Version = "standard", norm: Norm = "linf"
) -> tuple[Attempt, ...]:
    """Return the attacks of the ensemble, the cheap ones first.

    Args:
        num_classes: Of the model, 2 or more.
        seed: Of all that is drawn.
        version: "standard", or "quick" with fewer steps, wanted classes and queries.
        norm: Of the threat; Square and FAB are left out of "l1".
    """
    steps, wanted, queries = _SIZES[version]
    wanted = min(wanted, num_classes - 1)
    attempts = [_pgd(seed), _apgd(steps, seed), _apgd_targeted(steps, wanted, num_classes, seed)]
    if norm != "l1":
        attempts += [_square(queries, seed), _fab(steps, wanted)]
    return tuple(attempts)


def _pgd(seed: int) -> Attempt:
    def run(model: Model, inputs: Tensor, targets: Tensor, threat: Threat, ids: Tensor) -> Tensor:
        return pgd_restarts(
            model,
            inputs,
            targets,
            threat,
            steps=_PGD_STEPS,
            step_size=_PGD_STEP_SIZE,
            restarts=1,
            seed=seed,
            ids=ids,
            objective=margin,
        )

    return Attempt(
        "PGD", {"objective": "margin", "steps": _PGD_STEPS, "step_size": _PGD_STEP_SIZE}, run
    )


def _apgd(steps: int, seed: int) -> Attempt:
    def run(model: Model, inputs: Tensor, targets: Tensor, threat: Threat, ids: Tensor) -> Tensor:
        return apgd(
            model, inputs, targets, threat, steps=steps, seed=seed, ids=ids, objective=cross_entropy
        )

    return Attempt("APGD-CE", {"objective": "cross-entropy", "steps": steps}, run)


def _apgd_targeted(steps: int, wanted: int, num_classes: int, seed: int) -> Attempt:
    has_dlr = num_classes >= LEAST_CLASSES_OF_DLR
    objective: Callable[..., Tensor] = targeted_dlr if has_dlr else targeted_margin

    def run(model: Model, inputs: Tensor, targets: Tensor, threat: Threat, ids: Tensor) -> Tensor:
        return apgd_targeted(
            model,
            inputs,
            targets,
            threat,
            steps=steps,
            num_targets=wanted,
            seed=seed,
            ids=ids,
            objective=objective,
        )

    name = "targeted DLR" if has_dlr else "margin to the class; DLR needs 4 classes"
    return Attempt("APGD-T", {"objective": name, "steps": steps, "num_targets": wanted}, run)


def _square(queries: int, seed: int) -> Attempt:
    def run(model: Model, inputs: Tensor, targets: Tensor, threat: Threat, ids: Tensor) -> Tensor:
        return square(model, inputs, targets, threat, queries=queries, seed=seed, ids=ids)

    return Attempt("Square", {"objective": "margin", "queries": queries}, run)


def _fab(steps: int, wanted: int) -> Attempt:
    def run(model: Model, inputs: Tensor, targets: Tensor, threat: Threat, ids: Tensor) -> Tensor:
        return fab_targeted(model, inputs, targets, threat, steps=steps, num_targets=wanted)

    return Attempt("FAB-T", {"steps": steps, "num_targets": wanted}, run)
