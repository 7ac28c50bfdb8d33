"""CPU seconds of one epoch over the stream: ours, loops by hand, and Avalanche.

The fast bar's stream of all training rows, batch 128, Adam and the same network. Each is timed in a
process of its own, after a few rows that are not timed, and all in turn within a round, so that
whatever else the machine does meets each of them. What is timed:

- of ours all of `Trainer.run`: drawing and moving, the scores of 120 validation rows after every
  task, and before each task the choice of a micro-batch and a checkpoint of weights, optimiser and
  buffer, whose CPU seconds are also noted by themselves;
- of the loops and of Avalanche their training alone, with nothing evaluated, logged or kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from avalanche_strategies import stock_stream, strategy_of, stream_of
from borrowed import Clock, Rows, Split
from loops import LOOPS, Tasks, mlp
from ours import fit_timed
from protocol import ER, NAIVE, TASKS, is_ours
from torch import nn

SPEED = "speed"
ROUNDS = 5
STOCK = ", stock"
"""Of Avalanche's SplitMNIST through its own DataLoader."""
PAIRS = {
    NAIVE: ("plain loop, naive", "Avalanche, Naive", f"Avalanche, Naive{STOCK}"),
    ER: ("plain loop, er", "Avalanche, Replay", f"Avalanche, Replay{STOCK}"),
}
"""Of ours, whom it is held against: by hand, on the same tensors, as Avalanche comes."""
CONTESTANTS = tuple(name for own, rivals in PAIRS.items() for name in (own, *rivals))
FEW = 0.002
"""Share of the rows that is for validation of ours: they are scored after each task."""
WARM_ROWS = 2000


def one_round(method: str, seed: int, split: Split) -> dict[str, Any]:
    """Return CPU and wall seconds of one epoch; what goes before it is not timed."""
    if is_ours(method):
        fields = {**TASKS["fast-bar"].fields_of(method, seed), "validation": FEW}
        for rows in (split.train.some(WARM_ROWS), split.train):
            few = 0.02 if len(rows) == WARM_ROWS else FEW
            _, seconds = fit_timed(method, {**fields, "validation": few}, rows, None)
        return {**seconds, "epoch_rows": len(split.train)}
    training(method, seed, split.train.some(WARM_ROWS))[1]()
    _, train = training(method, seed, split.train)
    clock = Clock()
    train()
    return {**clock.lap(), "epoch_rows": len(split.train)}


def training(method: str, seed: int, rows: Rows) -> tuple[nn.Module, Callable[[], None]]:
    """Return a rival's network and its epoch, ready to go."""
    model = mlp(seed)
    if method in LOOPS:
        return model, partial(LOOPS[method], model, tasks_of(rows), 1)
    strategy = strategy_of(method.removesuffix(STOCK), model, 1)
    if method.endswith(STOCK):
        experiences = stock_stream(rows, Path(tempfile.mkdtemp()) / "files")
    else:
        experiences = stream_of(tasks_of(rows))

    def train() -> None:
        for experience in experiences:
            strategy.train(experience)

    return model, train


def tasks_of(rows: Rows, classes: int = 2) -> Tasks:
    """Return the rows of each task in turn: pixels (N, 784) in [0, 1], and digits (N,)."""
    pixels = torch.from_numpy(rows.inputs).flatten(1).float() / 255
    targets = torch.from_numpy(rows.targets)
    own = [targets // classes == number for number in range(10 // classes)]
    return [(pixels[within], targets[within]) for within in own]
