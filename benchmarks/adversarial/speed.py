"""CPU seconds of the same attack: ours, by hand, and by peers.

Each is timed in a process of its own, after a batch that is not timed, and all in turn within a
round, so that whatever else the machine does meets each of them. PGD makes the same steps on every
row, also on those that are broken: peers do not leave them out, and here ours does not either.
AutoAttack is what each makes of its definition, on a model that withstands some of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import networks
import peers
import torch
from borrowed import Clock, Split
from judged import attack, standing
from torch import Tensor, nn

from mlexpert.blocks.attacks.noise import uniform
from mlexpert.blocks.attacks.pgd import pgd
from mlexpert.blocks.attacks.threat import Threat

OURS, BY_HAND, TORCHATTACKS, FOOLBOX, ART = "ours", "by hand", *peers.PEERS
STANDARD = "torchattacks, 100 steps"
EPSILON, BATCH = 0.3, 256
SAMPLES = 200
"""Test images that AutoAttack is run on."""


@dataclass(frozen=True)
class Speed:
    """A comparison.

    Attributes:
        title: On the page.
        contestants: In the order of a round; the first is ours.
        rounds: How often.
        most: By contestant, what ours may take of its CPU seconds.
        network: Whose PGD is timed; None: AutoAttack is.
        steps: Of PGD.
        batches: Of a round.
    """

    title: str
    contestants: tuple[str, ...]
    rounds: int
    most: dict[str, float]
    network: str | None = None
    steps: int = 0
    batches: int = 0


EVERYONE = (OURS, BY_HAND, TORCHATTACKS, FOOLBOX, ART)
SPEEDS = {
    "speed-pgd, tiny": Speed(
        "PGD on the tiny 2-conv net, 40 steps",
        EVERYONE,
        5,
        {TORCHATTACKS: 1.0, FOOLBOX: 0.8, ART: 0.7},
        networks.TINY,
        steps=40,
        batches=6,
    ),
    "speed-pgd, 4-conv": Speed(
        "PGD on the 4-conv net, 10 steps",
        EVERYONE,
        5,
        {TORCHATTACKS: 0.75, FOOLBOX: 0.6, ART: 0.45},
        networks.SMALL,
        steps=10,
        batches=3,
    ),
    "speed-auto": Speed("AutoAttack on 200 images of MNIST", (OURS, STANDARD), 3, {STANDARD: 0.5}),
}


def one_round(task: str, method: str, split: Split, *, smoke: bool) -> dict[str, Any]:
    """Return CPU and wall seconds of one contestant; what goes before it is not timed."""
    speed = SPEEDS[task]
    images, targets = networks.tensors(split.test)
    if speed.network is None:
        return auto_round(method, split, images[:SAMPLES], targets[:SAMPLES], smoke=smoke)
    model = networks.network(speed.network).eval()
    run = pgd_of(method, model, speed.steps)
    batches = list(zip(images.split(BATCH), targets.split(BATCH), strict=True))
    run(*batches[0])
    clock = Clock()
    for x, y in batches[: 1 if smoke else speed.batches]:
        run(x, y)
    return {**clock.lap(), "images": sum(len(x) for x, _ in batches[: speed.batches])}


def pgd_of(method: str, model: nn.Module, steps: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return PGD from a random start with steps of a tenth of epsilon."""
    step = EPSILON / 10
    if method == BY_HAND:
        return lambda x, y: networks.pgd(model, x, y, EPSILON, steps, step)
    if method != OURS:
        return peers.pgd(method, model, EPSILON, steps, step)
    threat = Threat("linf", EPSILON)

    def ours(x: Tensor, y: Tensor) -> Tensor:
        noise = uniform(torch.arange(len(x)), x.shape[1:], seed=0)
        start = threat.random_start(x, noise)
        return pgd(model, x, y, threat, steps=steps, step_size=0.1, start=start)

    return ours


def auto_round(
    method: str, split: Split, images: Tensor, targets: Tensor, *, smoke: bool
) -> dict[str, Any]:
    """Return the seconds of AutoAttack, and the share of images that it leaves."""
    if smoke:
        images, targets = images[:20], targets[:20]
    model, threat = networks.robust(split.train, EPSILON, smoke=smoke), Threat("linf", EPSILON)
    clean = standing(model, images, targets)
    run = None if method == OURS else peers.auto_attack(model, EPSILON, smoke=smoke)
    clock = Clock()
    if run is None:
        left = ~attack(model, images, targets, threat, smoke).broken
        seconds = clock.lap()
    else:
        # The original's evaluation, too, begins with the rows that are right.
        moved = images.clone()
        moved[clean] = run(images[clean], targets[clean]).detach()
        seconds = clock.lap()
        left = clean & standing(model, threat.project(moved, images), targets)
    return {
        **seconds,
        "left": left.double().mean().item(),
        "clean": clean.double().mean().item(),
        "images": len(images),
    }
