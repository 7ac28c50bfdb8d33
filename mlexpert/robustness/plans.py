"""The attacks by name: which attempts they are made of, one after another on what still stands."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from mlexpert.blocks.attacks.apgd import apgd, apgd_targeted
from mlexpert.blocks.attacks.attacked import Model
from mlexpert.blocks.attacks.auto_attack import Version, standard_attempts
from mlexpert.blocks.attacks.ensemble import Attempt
from mlexpert.blocks.attacks.fgsm import fgsm
from mlexpert.blocks.attacks.margins import cross_entropy, margin
from mlexpert.blocks.attacks.pgd import Objective, pgd_restarts
from mlexpert.blocks.attacks.square import square
from mlexpert.blocks.attacks.threat import Norm, Threat
from mlexpert.robustness.settings import Settings

PGD_STEPS, PGD_RESTARTS, APGD_STEPS, QUERIES = 50, 10, 100, 5_000
LENGTH = 2.5
"""All steps of a restart together, in epsilons (Madry et al. 2018, arXiv:1706.06083, section 5)."""
Parameters = dict[str, int | float | str]
FEWEST_TARGETED = 4
"""Classes that the targeted loss of APGD needs."""


def plan(settings: Settings, num_classes: int, norm: Norm) -> tuple[Attempt, ...]:
    """Return the attempts of an attack, in their order.

    Args:
        settings: Which attack, and its size.
        num_classes: Of the model.
        norm: Of the threat.
    """
    steps, seed = settings.steps, settings.seed
    if settings.attack in ("auto", "quick"):
        version: Version = "quick" if settings.attack == "quick" else "standard"
        return standard_attempts(num_classes, seed=seed, version=version, norm=norm)
    if settings.attack == "fgsm":
        return (Attempt("FGSM", {"steps": 1}, lambda m, x, y, threat, ids: fgsm(m, x, y, threat)),)
    if settings.attack == "square":
        return (_square(steps or QUERIES, seed),)
    if settings.attack == "apgd":
        return _apgd(steps or APGD_STEPS, seed, num_classes)
    steps, restarts = steps or PGD_STEPS, settings.restarts or PGD_RESTARTS
    return (
        _pgd("PGD", steps, restarts, seed, cross_entropy),
        _pgd("PGD on the margin", steps, 1, seed, margin),
    )


def _pgd(name: str, steps: int, restarts: int, seed: int, objective: Objective) -> Attempt:
    size = LENGTH / steps

    def run(model: Model, inputs: Tensor, targets: Tensor, threat: Threat, ids: Tensor) -> Tensor:
        return pgd_restarts(
            model, inputs, targets, threat, steps=steps, step_size=size, restarts=restarts,
            seed=seed, ids=ids, objective=objective,
        )  # fmt: skip

    loss = "cross-entropy" if objective is cross_entropy else "margin"
    about: Parameters = {"steps": steps, "restarts": restarts, "step_size": size, "objective": loss}
    return Attempt(name, about, run)


def _apgd(steps: int, seed: int, num_classes: int) -> tuple[Attempt, ...]:
    def untargeted(objective: Objective) -> Callable[..., Tensor]:
        return lambda model, inputs, targets, threat, ids: apgd(
            model, inputs, targets, threat, steps=steps, seed=seed, ids=ids, objective=objective
        )

    about: Parameters = {"steps": steps, "restarts": 1}
    first = Attempt("APGD-CE", {**about, "objective": "cross-entropy"}, untargeted(cross_entropy))
    if num_classes < FEWEST_TARGETED:
        return first, Attempt(
            "APGD on the margin", {**about, "objective": "margin"}, untargeted(margin)
        )
    number = min(9, num_classes - 1)

    def targeted(model: Model, inputs: Tensor, targets: Tensor, threat: Threat, ids: Tensor):
        return apgd_targeted(
            model, inputs, targets, threat, steps=steps, num_targets=number, seed=seed, ids=ids
        )

    return first, Attempt(
        "APGD-T", {**about, "objective": "targeted DLR", "num_targets": number}, targeted
    )


def _square(queries: int, seed: int) -> Attempt:
    def run(model: Model, inputs: Tensor, targets: Tensor, threat: Threat, ids: Tensor) -> Tensor:
        return square(model, inputs, targets, threat, queries=queries, seed=seed, ids=ids)

    return Attempt("Square", {"queries": queries}, run)
