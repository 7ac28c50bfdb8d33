"""The tasks: which rows, in what scenario, how long each is trained, by whom and how often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from borrowed import TASKS as CLASSIFICATION
from borrowed import Split

OURS = "continual-cls"
"""The default of the family."""
RANPAC = f"{OURS}/ranpac"
NAIVE, JOINT, ER, DERPP = (f"{OURS}/{name}" for name in ("naive", "joint", "er", "der++"))
EWC, SI, LWF, AGEM, ICARL = (f"{OURS}/{name}" for name in ("ewc", "si", "lwf", "a-gem", "icarl"))
PLAIN_LOOPS = ("plain loop, naive", "plain loop, er")
AVALANCHE = ("Avalanche, Naive", "Avalanche, Replay", "Avalanche, DER", "Avalanche, EWC")

MLP = {"backbone": "mlp", "batch_size": 128, "lr": 1e-3}
BUFFER = 1000
"""Rows that methods with a buffer keep: 100 a class."""
WITH_BUFFER = {
    f"{OURS}/{name}" for name in ("er", "der++", "er-ace", "a-gem", "gdumb", "icarl")
} | {OURS}
EPOCHS_OF_2000 = 22
"""Passes over a task of about 11,760 rows, in batches of 128, that come nearest to 2,000 steps."""
IN_CLASS = {
    NAIVE: "19.89 ± .02",
    JOINT: "98.17 ± .04",
    EWC: "20.64 ± .52",
    SI: "21.20 ± .57",
    LWF: "21.89 ± .32",
    ER: "88.79 ± .20",
    AGEM: "65.10 ± 3.64",
    ICARL: "92.49 ± .12",
}
IN_DOMAIN = {
    NAIVE: "60.13 ± 1.66",
    JOINT: "98.59 ± .05",
    EWC: "63.03 ± 1.58",
    SI: "66.94 ± 1.13",
    LWF: "71.18 ± 1.42",
    ER: "93.75 ± .24",
    AGEM: "87.67 ± 1.33",
}
IN_TASK = {
    NAIVE: "84.32 ± .99",
    JOINT: "99.67 ± .03",
    EWC: "99.06 ± .15",
    SI: "99.20 ± .11",
    LWF: "99.60 ± .03",
    ER: "98.98 ± .07",
    AGEM: "98.56 ± .14",
}
"""Van de Ven et al. 2022, table 2: per cent, mean and standard error of 20 seeds."""


@dataclass(frozen=True)
class Measured:
    """A stream as it is measured.

    Attributes:
        title: On the page.
        data: Whose official split is taken: a task of the classification benchmark.
        methods: Who is measured, and on how many seeds, from 0.
        fields: Of all our recipes.
        own: Of one of our recipes, by name.
        published: Accuracies in per cent, by method.
        rows: Training rows that are taken; None: all.
        permuted: Tasks are all classes with pixels permuted, where that is a number of tasks.
        needs_gpu: Whether a CPU has no time for it.
        note: What a reader has to know.
    """

    title: str
    data: str
    methods: Mapping[str, int]
    fields: Mapping[str, Any]
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    published: Mapping[str, str] = field(default_factory=dict)
    rows: int | None = None
    permuted: int | None = None
    needs_gpu: bool = False
    note: str = ""

    @property
    def scenario(self) -> str:
        """What is asked: "class", "domain" or "task"."""
        return "domain" if self.permuted else self.fields["scenario"]

    @property
    def is_here(self) -> bool:
        """Whether this machine measures it."""
        return not self.needs_gpu or torch.cuda.is_available()

    def split(self, data: Path, *, smoke: bool) -> Split:
        """Return the official training and test rows, of which a smoke run takes few."""
        split = CLASSIFICATION[self.data].split(0, data, smoke=False)
        if smoke:
            return Split(split.train.some(2000), split.test.some(500), None)
        train = split.train if self.rows is None else split.train.some(self.rows)
        return Split(train, split.test, None)

    def fields_of(self, method: str, seed: int) -> dict[str, Any]:
        """Return the fields of one of our recipes on a seed."""
        fields = {"seed": seed, "validation": 0.02, "test": 0.0, "precision": "fp32", **self.fields}
        if method in WITH_BUFFER:
            fields["buffer_size"] = BUFFER
        if self.fields.get("order_seed") is not None:
            fields["order_seed"] = seed
        return {**fields, **self.own.get(method, {})}


def _van_de_ven(
    scenario: str,
    published: Mapping[str, str],
    more: Mapping[str, int],
    own: Mapping[str, Mapping[str, Any]],
    *,
    seeds: int = 5,
) -> Measured:
    return Measured(
        f"Split-MNIST, {scenario}-incremental",
        "mnist",
        {**dict.fromkeys(published, seeds), **more},
        {**MLP, "scenario": scenario, "epochs": EPOCHS_OF_2000, "order_seed": 0},
        own=own,
        published=published,
        note="The protocol of van de Ven et al. 2022: five tasks of two digits, dealt anew with "
        f"each seed; {EPOCHS_OF_2000} epochs of batches of 128, which are 1,850 to 2,200 steps a "
        "task where the paper has 2,000; joint training has the epochs of one task on all rows, "
        "10,120 steps; Adam 1e-3, not reset; 100 rows a class are kept.",
    )


TASKS = {
    "fast-bar": Measured(
        "The fast bar: Split-MNIST in one epoch, class-incremental",
        "mnist",
        {
            NAIVE: 5,
            ER: 5,
            DERPP: 5,
            JOINT: 5,
            f"{OURS}/er-ace": 5,
            AGEM: 5,
            f"{OURS}/gdumb": 5,
            RANPAC: 5,
            ICARL: 5,
            OURS: 5,
            **dict.fromkeys(PLAIN_LOOPS, 5),
            **dict.fromkeys(AVALANCHE, 1),
        },
        {**MLP, "scenario": "class", "epochs": 1},
        own={RANPAC: {"backbone": "auto"}},
        note="Digits in their natural order, two a task; one epoch of batches of 128, Adam 1e-3, "
        f"a buffer of {BUFFER:,}. Rivals train on all 60,000 rows and mask nothing.",
    ),
    "split-mnist-class": _van_de_ven("class", IN_CLASS, {OURS: 5, DERPP: 5}, {}),
    "split-mnist-domain": _van_de_ven("domain", IN_DOMAIN, {ER: 10, OURS: 5}, {}),
    "split-mnist-task": _van_de_ven("task", IN_TASK, {OURS: 3}, {}, seeds=3),
    "permuted-mnist": Measured(
        "Permuted MNIST, domain-incremental",
        "mnist",
        dict.fromkeys((NAIVE, EWC, SI, ER, DERPP, OURS), 3),
        {**MLP, "scenario": "domain", "epochs": 1},
        rows=12_000,
        permuted=10,
        note=f"Ten permutations of the pixels, one epoch of 12,000 rows each; {BUFFER:,} rows are "
        "kept.",
    ),
    "split-cifar-10": Measured(
        "Split-CIFAR-10, class-incremental, a short one",
        "cifar-10",
        dict.fromkeys((NAIVE, ER, DERPP, JOINT, OURS), 1),
        {"scenario": "class", "epochs": 5, "flip": True, "shift": 4, "precision": "auto"},
        note="What a CPU has time for: ResNet-8 of width 16, 5 epochs a task, batch 32, "
        f"{BUFFER:,} rows kept. It shows the order of methods, not the published level.",
    ),
    "split-cifar-10, ResNet-18": Measured(
        "Split-CIFAR-10, class-incremental, the published protocol",
        "cifar-10",
        dict.fromkeys((NAIVE, ER, DERPP, JOINT), 3),
        {
            "scenario": "class",
            "epochs": 50,
            "batch_size": 32,
            "lr": 0.03,
            "backbone": "resnet18",
            "image_size": 64,
            "flip": True,
            "shift": 4,
            "precision": "auto",
        },
        own={ER: {"buffer_size": 500}, DERPP: {"buffer_size": 500}},
        published={NAIVE: "19.6", ER: "57.7", DERPP: "72.7", JOINT: "92.2"},
        needs_gpu=True,
        note="Buzzega et al. 2020 with a buffer of 500: 50 epochs a task, batch 32. Their "
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
