"""Seconds of one epoch: ours, and the same network in a loop with a DataLoader.

They train in turn, so that whatever else the machine does meets each of them, and each in a process
of its own: our trainer tells the allocator to keep freed memory, which the loop would profit from.
Ours once decides for itself how to compute, as it does for a user, and once has to take fp32 as the
loop does. All start with a few batches that are not timed: imports and allocators are no part of an
epoch. What ours takes to choose its memory is, spread over the epochs that are timed together.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from clock import Clock
from rivals_images import BATCH, Loop, small_resnet
from tasks import SMOKE_ROWS, TASKS, Rows
from torch.utils.data import DataLoader, TensorDataset

from mlexpert.data.batches import TensorStore
from mlexpert.data.encode import encode_targets
from mlexpert.data.schema import Schema
from mlexpert.fitting.assembly import Assembled, assemble, read_for
from mlexpert.preparation import Roles
from mlexpert.recipe import Encoded, Recipe
from mlexpert.recipes import get
from mlexpert.training.plan import Data
from mlexpert.training.precision import Engine
from mlexpert.training.tracking import RunFolder
from mlexpert.training.trainer import Trainer

ROWS = 10_000
OURS, OURS_FP32, LOOP = "ours", "ours, fp32", "DataLoader loop"
WARM_ROWS = 600
EPOCHS = {"images": 1, "tables": 5}
"""Timed together: those of tables are short."""
FEW = 2
"""Validation rows of ours, which the loop is spared: so few that they hardly count."""
CASES = {"speed-images": "cifar-10", "speed-tables": "adult"}
Epoch = Callable[[], object]
Made = tuple[Recipe, Assembled, Schema]


def rounds(case: str, number: int, data: Path, *, smoke: bool) -> list[dict[str, Any]]:
    """Return a line for each contestant: the CPU and wall seconds of its epoch in this round."""
    contestants = (OURS, OURS_FP32, LOOP)
    lines = []
    for name in contestants if number % 2 == 0 else reversed(contestants):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
            lines.append(
                own.submit(one_epoch, case, name, data, torch.get_num_threads(), smoke).result()
            )
    return lines


def one_epoch(case: str, name: str, data: Path, threads: int, smoke: bool) -> dict[str, Any]:
    """Return a contestant's line; what goes before its epoch is not timed."""
    torch.set_num_threads(threads)
    task = TASKS[CASES[case]]
    frame = pd.read_parquet(data / f"{task.files[0]}.parquet")
    rows = task.read(frame.head(SMOKE_ROWS if smoke else ROWS if task.kind == "images" else None))
    ours, loop = (ours_images, loop_images) if task.kind == "images" else (ours_tables, loop_tables)
    contestants: dict[str, Callable[[int], Epoch]] = {
        OURS: lambda limit: ours(rows, "auto", limit),
        OURS_FP32: lambda limit: ours(rows, "fp32", limit),
        LOOP: lambda limit: loop(rows, limit),
    }
    contestants[name](WARM_ROWS)()
    train, epochs = contestants[name](len(rows)), EPOCHS[task.kind]
    clock = Clock()
    train()
    seconds = {of: round(value / epochs, 3) for of, value in clock.lap().items()}
    return {"method": name, "epoch_rows": len(rows), **seconds}


def ours_images(rows: Rows, precision: str, limit: int) -> Epoch:
    recipe = get("image-cls", epochs=1, batch_size=BATCH, precision=precision)
    return epoch_of(_ours(recipe, (rows.inputs, rows.targets), None, limit))


def loop_images(rows: Rows, limit: int) -> Epoch:
    pixels, targets = rows.inputs[:limit], rows.targets[:limit]
    assert isinstance(pixels, np.ndarray), "images are arrays"
    return Loop(
        small_resnet(pixels, num_classes=10, seed=0), pixels, targets, epochs=1, seed=0
    ).train


def ours_tables(rows: Rows, precision: str, limit: int) -> Epoch:
    return epoch_of(_tabular(rows, precision, limit))


def loop_tables(rows: Rows, limit: int) -> Epoch:
    """The network and the loss of tabular-cls, its rows encoded alike, in the tutorials' loop."""
    _, made, _ = _tabular(rows, "fp32", limit)
    model, loss_of = made.parts.network.model, made.parts.method.loss_of
    everything = TensorDataset(made.train.store.rows, made.train.targets)
    loader = DataLoader(everything, batch_size=256, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=3e-4)

    def train() -> None:
        model.train()
        for _ in range(EPOCHS["tables"]):
            for inputs, targets in loader:
                loss = loss_of(model(inputs), targets).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return train


def _tabular(rows: Rows, precision: str, limit: int) -> Made:
    recipe = get("tabular-cls", epochs=EPOCHS["tables"], batch_size=256, precision=precision)
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
    rows = Encoded(train, few)
    stream = settled.stretches(made.parts, prepared.schema, rows)
    return settled, replace(made, rows=rows, stream=stream), prepared.schema


def epoch_of(ours: Made) -> Epoch:
    settled, made, _ = ours
    trainer = Trainer(
        made.parts.network.model,
        made.parts.method,
        made.stream,
        made.plan,
        Engine(settled.precision),
        RunFolder(Path(tempfile.mkdtemp(prefix="epoch-")) / "run", {}, fresh=True),
    )
    return trainer.run
