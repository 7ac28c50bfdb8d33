"""The tasks: which rows, what attacker, how long each is trained, by whom and how often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from borrowed import TASKS as CLASSIFICATION
from borrowed import Split

OURS = "adversarial-cls"
"""The default of the family."""
LONG = "mnist, long"
PGD_AT, TRADES, MART, AWP, FAST, FREE = (
    f"{OURS}/{name}" for name in ("pgd-at", "trades", "mart", "awp", "fast-at", "free-at")
)
STEPS, RESTARTS = 50, 10
"""Of the PGD that judges a model."""


@dataclass(frozen=True)
class Measured:
    """A data set and an attacker.

    Attributes:
        title: On the page.
        data: Whose official split is taken: a task of the classification benchmark.
        epsilon: L-inf radius, in pixel units from 0 to 1.
        methods: Who is measured, and on how many seeds, from 0.
        step_size: Length of a step of the PGD that judges, as a share of epsilon.
        fields: Of all recipes.
        own: Of one recipe, by name.
        published: "clean / PGD as reported / AutoAttack" in per cent, by method.
        rows: Training rows that are taken; None: all.
        pgd_rows: Test rows that PGD is run on; None: all. The clean accuracy is of all.
        auto_rows: First test rows that our auto_attack is run on.
        needs_gpu: Whether a CPU has no time for it.
        note: What a reader has to know.
    """

    title: str
    data: str
    epsilon: float
    methods: Mapping[str, int]
    step_size: float
    fields: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    published: Mapping[str, str] = field(default_factory=dict)
    rows: int | None = None
    pgd_rows: int | None = None
    auto_rows: int = 1000
    needs_gpu: bool = False
    note: str = ""

    @property
    def is_here(self) -> bool:
        """Whether this machine measures it."""
        return not self.needs_gpu or torch.cuda.is_available()

    def split(self, data: Path, *, smoke: bool) -> Split:
        """Return the official training and test rows, of which a smoke run takes few."""
        split = CLASSIFICATION[self.data].split(0, data, smoke=False)
        if smoke:
            return Split(split.train.some(1500), split.test.some(100), None)
        train = split.train if self.rows is None else split.train.some(self.rows)
        return Split(train, split.test, None)

    def fields_of(self, method: str, seed: int) -> dict[str, Any]:
        """Return the fields of one of our recipes on a seed."""
        fields = {
            "seed": seed,
            "epsilon": self.epsilon,
            "validation": 0.02,
            "test": 0.0,
        }
        return {**fields, **self.fields, **self.own.get(method, {})}


TASKS = {
    "mnist": Measured(
        "MNIST, L-inf 0.3",
        "mnist",
        0.3,
        {OURS: 3, FAST: 3},
        step_size=1 / 30,
        published={FAST: "98.50 / 88.77 / 82.93"},
        note="Both as they are but for epsilon. Published: Wong et al. 2020; AutoAttack's figure "
        "is that of Croce & Hein 2020.",
    ),
    "mnist, others": Measured(
        "MNIST, L-inf 0.3, the other recipes",
        "mnist",
        0.3,
        dict.fromkeys((PGD_AT, TRADES, MART, FREE), 1),
        step_size=1 / 30,
        published={PGD_AT: "98.53 / 89.62 / 88.50", TRADES: "99.48 / 95.60 / 92.81"},
        pgd_rows=1000,
        note="Each as it is but for epsilon. Published: Madry et al. 2018, Zhang et al. 2019 (a "
        "larger network, 100 epochs), on all test rows; AutoAttack's figures are those of "
        "Croce & Hein 2020.",
    ),
    LONG: Measured(
        "MNIST, L-inf 0.3, the long run",
        "mnist",
        0.3,
        {AWP: 1},
        step_size=1 / 30,
        fields={"epochs": 20, "ema": 0.998},
        pgd_rows=1000,
        note="20 epochs, with the average of weights that the default has.",
    ),
    "fashion": Measured(
        "Fashion-MNIST, L-inf 0.1, a short one",
        "fashion-mnist",
        0.1,
        dict.fromkeys((OURS, PGD_AT, TRADES, FAST), 1),
        step_size=0.1,
        fields={"epochs": 5},
        own={TRADES: {"beta": 6.0}},
        pgd_rows=1000,
        auto_rows=200,
        note="Five epochs of each. `trades` has beta 6 here, as the paper for CIFAR-10; the "
        "default is trades with an average of weights and beta 1, as the paper for MNIST.",
    ),
    "cifar-10": Measured(
        "CIFAR-10, L-inf 8/255, a short one",
        "cifar-10",
        8 / 255,
        dict.fromkeys((OURS, PGD_AT, FAST), 1),
        step_size=0.25,
        fields={"epochs": 5, "flip": True},
        rows=10_000,
        pgd_rows=1000,
        auto_rows=200,
        note="What a CPU has time for: 10,000 rows, 5 epochs, the small ResNet. It shows the order "
        "of methods, not the published level.",
    ),
    "cifar-10, ResNet-18": Measured(
        "CIFAR-10, L-inf 8/255, ResNet-18",
        "cifar-10",
        8 / 255,
        dict.fromkeys((PGD_AT, AWP), 1),
        step_size=0.25,
        fields={
            "backbone": "resnet18",
            "image_size": 64,
            "flip": True,
            "epochs": 30,
        },
        needs_gpu=True,
        published={PGD_AT: "- / 52.79", AWP: "- / 55.39"},
        note="Rice et al. 2020 and Wu et al. 2020 train for 200 epochs, and their PGD has 20 "
        "steps; the last epoch of plain adversarial training is 9 points below its best. Their "
        "ResNet-18 has no stride in its stem; timm's has, so images are doubled in size.",
    ),
}


def is_ours(method: str) -> bool:
    """Return whether a method is one of mlexpert's recipes."""
    return method.startswith(OURS)


def planned(task: str) -> dict[str, range]:
    """Return the methods that this machine measures on a task, and the seeds of each."""
    known = TASKS[task]
    return {name: range(count) for name, count in known.methods.items()} if known.is_here else {}
