"""One of our models, trained once and kept, under attacks that others wrote.

Each attack returns images; those outside the threat are put back, and we decide which rows still
stand. None may leave fewer than our own report says.
"""

from __future__ import annotations

import zlib
from functools import partial
from typing import Any

import peers
import torch
from borrowed import Clock, Split
from judged import as_inputs, attack, fit_timed, standing
from networks import FOLDER
from protocol import OURS, TASKS
from torch import nn

import mlexpert
from mlexpert.blocks.attacks.threat import Threat
from mlexpert.fitted import Fitted

FOREIGN = "foreign"
OWN = "ours, auto_attack"
ATTACKS = {
    "ART, AutoPGD": peers.art_auto_pgd,
    "ART, Square": peers.art_square,
    "foolbox, PGD": partial(peers.pgd, "foolbox"),
    "torchattacks, APGD-T": peers.apgd_targeted,
}
FIRST = 1000
"""Test images that are attacked."""
KEPT = FOLDER / "foreign"


def attacked_by(name: str, split: Split, *, smoke: bool) -> dict[str, Any]:
    """Return the share of the first test rows that an attack leaves, and how far it went."""
    fitted = model_of(split, smoke=smoke)
    model, threat = fitted.parts.network.model, Threat("linf", TASKS["mnist"].epsilon)
    inputs, targets = (one[: 20 if smoke else FIRST] for one in as_inputs(fitted, split.test))
    clock = Clock()
    if name == OWN:
        left = ~attack(model, inputs, targets, threat, smoke).broken
        overshoot = 0.0
    else:
        moved = by_batches(name, model, inputs, targets, smoke=smoke)
        overshoot = float(threat.distance(moved, inputs).max()) - threat.epsilon
        left = standing(model, threat.project(moved, inputs), targets)
        # A row that is wrong by itself is lost, whatever an attack makes of it.
        left &= standing(model, inputs, targets)
    return {
        "left": left.double().mean().item(),
        "clean": standing(model, inputs, targets).double().mean().item(),
        "overshoot": overshoot,
        "attacked": len(inputs),
        "model": fingerprint(model),
        **clock.lap(),
    }


def by_batches(
    name: str, model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, *, smoke: bool
) -> torch.Tensor:
    """Return what a peer's attack made of the images, as many at once as for ours."""
    epsilon = TASKS["mnist"].epsilon
    if name == "foolbox, PGD":
        run = ATTACKS[name](model, epsilon, 5 if smoke else 100, epsilon / 30)
    elif name.startswith("ART"):
        run = ATTACKS[name](model, epsilon, smoke=smoke)
    else:
        run = ATTACKS[name](model, epsilon)
    pieces = zip(inputs.split(500), targets.split(500), strict=True)
    return torch.cat([run(images, labels).detach() for images, labels in pieces])


def model_of(split: Split, *, smoke: bool) -> Fitted:
    """Return the default recipe on MNIST with seed 0, which is trained once and then kept."""
    if KEPT.is_dir() and not smoke:
        return mlexpert.load(KEPT)
    fields = TASKS["mnist"].fields_of(OURS, 0)
    if smoke:
        fields |= {"epochs": 1, "validation": 0.1}
    fitted, _ = fit_timed(OURS, fields, split.train)
    if not smoke:
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        fitted.save(KEPT)
    return fitted


def fingerprint(model: nn.Module) -> str:
    """Return what tells one trained model from another."""
    found = 0
    for value in model.state_dict().values():
        found = zlib.crc32(value.detach().cpu().contiguous().numpy().tobytes(), found)
    return f"{found:08x}"
