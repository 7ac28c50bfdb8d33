"""Seconds of one epoch: ours, and the same network in a loop with a DataLoader.

All three train in one process and in turn, so that whatever else the machine does meets each of
them. Ours once decides for itself how to compute, as it does for a user, and once has to take fp32
as the loop does. Both kinds start with a few batches that are not timed: imports, allocators and
our choice of arithmetic are no part of an epoch.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from clock import Clock
from rivals_images import BATCH, Loop, small_resnet
from tasks import SMOKE_ROWS, TASKS, Rows
from torch.utils.data import DataLoader, TensorDataset

from mlexpert.assembly import Assembled, assemble, read_for
from mlexpert.data.batches import TensorStore
from mlexpert.data.encode import encode_targets
from mlexpert.data.schema import Schema
from mlexpert.preparation import Roles
from mlexpert.recipe import Recipe
from mlexpert.recipes import get
from mlexpert.training.method import Task
from mlexpert.training.plan import Data
from mlexpert.training.precision import Engine
from mlexpert.training.tracking import RunFolder
from mlexpert.training.trainer import Trainer

ROWS = 10_000
OURS, OURS_FP32, LOOP = "ours", "ours, fp32", "DataLoader loop"
WARM_ROWS = 600
FEW = 2
"""Validation rows of ours, which the loop is spared: so few that they hardly count."""
CASES = {"speed-images": "cifar-10", "speed-tables": "adult"}
Epoch = Callable[[], object]
Made = tuple[Recipe, Assembled, Schema]


def rounds(case: str, number: int, data: Path, *, smoke: bool) -> list[dict[str, Any]]:
    """Return a line for each contestant: the CPU and wall seconds of its epoch in this round."""
    task = TASKS[CASES[case]]
    frame = pd.read_parquet(data / f"{task.files[0]}.parquet")
    rows = task.read(frame.head(SMOKE_ROWS if smoke else ROWS if task.kind == "images" else None))
    ours, loop = (ours_images, loop_images) if task.kind == "images" else (ours_tables, loop_tables)
    contestants: dict[str, Callable[[int], Epoch]] = {
        OURS: lambda limit: ours(rows, "auto", limit),
        OURS_FP32: lambda limit: ours(rows, "fp32", limit),
        LOOP: lambda limit: loop(rows, limit),
    }
    for make in contestants.values():
        make(WARM_ROWS)()
    gc.collect()
    lines = []
    for name in list(contestants) if number % 2 == 0 else list(reversed(contestants)):
        epoch = contestants[name](len(rows))
        clock = Clock()
        epoch()
        lines.append({"method": name, "epoch_rows": len(rows), **clock.lap()})
    return lines


def ours_images(rows: Rows, precision: str, limit: int) -> Epoch:
    recipe = get("image-cls", epochs=1, batch_size=BATCH, microbatch=None, precision=precision)
    return _epoch(_ours(recipe, (rows.inputs, rows.targets), None, limit))


def loop_images(rows: Rows, limit: int) -> Epoch:
    pixels, targets = rows.inputs[:limit], rows.targets[:limit]
    assert isinstance(pixels, np.ndarray), "images are arrays"
    return Loop(
        small_resnet(pixels, num_classes=10, seed=0), pixels, targets, epochs=1, seed=0
    ).train


def ours_tables(rows: Rows, precision: str, limit: int) -> Epoch:
    return _epoch(_tabular(rows, precision, limit))


def loop_tables(rows: Rows, limit: int) -> Epoch:
    """The network and the loss of tabular-cls, its rows encoded alike, in the tutorials' loop."""
    _, made, _ = _tabular(rows, "fp32", limit)
    model, loss_of = made.parts.network.model, made.parts.method.loss_of
    everything = TensorDataset(made.train.store.rows, made.train.targets)
    loader = DataLoader(everything, batch_size=256, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=3e-4)

    def epoch() -> None:
        model.train()
        for inputs, targets in loader:
            loss = loss_of(model(inputs), targets).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def _tabular(rows: Rows, precision: str, limit: int) -> Made:
    recipe = get("tabular-cls", epochs=1, batch_size=256, microbatch=None, precision=precision)
    return _ours(recipe, rows.frame("target"), "target", limit)


def _ours(recipe: Recipe, data: Any, target: str | None, limit: int) -> Made:
    """Return what `fit` makes of all rows, with the first `limit` of them to train on."""
    roles = Roles(target, None, None, None, None, None)
    settled, prepared = read_for(replace(recipe, validation=0.1, test=0.0), data, roles, "report")
    torch.manual_seed(0)
    made = assemble(settled, prepared, progress=False)
    parts = [prepared.splits.train, prepared.splits.validation]
    encoded = torch.cat([made.parts.network.encode(part).rows for part in parts])
    targets = torch.cat([encode_targets(part.targets, prepared.schema) for part in parts])
    train, few = (Data(TensorStore(encoded[:n]), targets[:n]) for n in (limit, FEW))
    return settled, replace(made, train=train, validation=few), prepared.schema


def _epoch(ours: Made) -> Epoch:
    settled, made, schema = ours
    trainer = Trainer(
        made.parts.network.model,
        made.parts.method,
        made.parts.optimizer,
        made.parts.schedule,
        made.parts.evaluate,
        made.plan,
        Engine(settled.precision),
        RunFolder(Path(tempfile.mkdtemp(prefix="epoch-")) / "run", {}, fresh=True),
    )
    task = Task(0, torch.tensor(schema.class_counts))
    return lambda: trainer.run(task, made.train, made.validation)
