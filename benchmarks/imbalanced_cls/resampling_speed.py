"""Seconds of SMOTE and one epoch: ours, and imbalanced-learn with a DataLoader loop.

The contestants run in turn, so that whatever else the machine does meets each of them, and each in
a process of its own: our trainer tells the allocator to keep freed memory, which the loop would
profit from. The network, the batch size and the encoded rows are the same. Each resamples the table
and passes once over what came out. Ours once decides for itself how to compute, as it does for a
user, and once has to take fp32 as the loop does. A few rows go untimed before: imports and
allocators are no part of an epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from borrowed import Clock, Rows
from protocol import TASKS
from torch.utils.data import DataLoader, TensorDataset

from mlexpert.data.schema import Numeric, Schema
from mlexpert.fitting.assembly import Assembled, assemble, read_for
from mlexpert.preparation import Roles
from mlexpert.recipe import Recipe
from mlexpert.recipes import get

CASES = {"speed-mammography": "mammography", "speed-adult": "adult"}
"""A table of numbers, and one with categories: SMOTE and SMOTE-NC."""
ROUNDS = 5
BATCH = 256
OURS, OURS_FP32, LOOP = "ours", "ours, fp32", "imbalanced-learn and a DataLoader loop"
WARM_ROWS = 1_500
FEW = 0.02
"""Share of the rows for validation, which ours looks at and the loop is spared."""
Run = Callable[[], object]


def rounds(case: str, number: int, data: Path, *, smoke: bool) -> list[dict[str, Any]]:
    """Return a line for each contestant: the CPU and wall seconds that it takes in this round."""
    contestants = (OURS, OURS_FP32, LOOP)
    threads = torch.get_num_threads()
    lines = []
    for name in contestants if number % 2 == 0 else reversed(contestants):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
            lines.append(own.submit(one_run, case, name, data, threads, smoke).result())
    return lines


def one_run(case: str, name: str, data: Path, threads: int, smoke: bool) -> dict[str, Any]:
    """Return a contestant's line; what goes before is not timed."""
    torch.set_num_threads(threads)
    rows = TASKS[CASES[case]].split(0, data, smoke=smoke).train
    contestants: dict[str, Callable[[Rows], Run]] = {
        OURS: lambda rows: ours(rows, "auto"),
        OURS_FP32: lambda rows: ours(rows, "fp32"),
        LOOP: loop,
    }
    contestants[name](rows.some(WARM_ROWS))()
    run = contestants[name](rows)
    clock = Clock()
    run()
    return {"method": name, "epoch_rows": len(rows), **clock.lap()}


def ours(rows: Rows, precision: str) -> Run:
    """The recipe's resampling, and an epoch by the trainer."""
    from speed import epoch_of

    settled, made, schema = _made(rows, precision)
    resample = made.parts.resample
    assert resample is not None, "the recipe resamples"

    def run() -> None:
        resampled = replace(made.rows, train=resample(made.unsampled, schema, 0))
        stream = settled.stretches(made.parts, schema, resampled)
        epoch_of((settled, replace(made, rows=resampled, stream=stream), schema))()

    return run


def loop(rows: Rows) -> Run:
    """imbalanced-learn on the encoded rows, and the same network in the tutorials' loop."""
    from imblearn.over_sampling import SMOTE, SMOTENC

    _, made, schema = _made(rows, "fp32")
    model, loss_of = made.parts.network.model, made.parts.method.loss_of
    table, labels = made.unsampled.store.rows.numpy(), made.unsampled.targets.numpy()
    words = [k for k, column in enumerate(schema.columns) if not isinstance(column, Numeric)]
    sampler = SMOTENC(words, random_state=0) if words else SMOTE(random_state=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=3e-4)

    def run() -> None:
        resampled, labelled = sampler.fit_resample(table, labels)
        everything = TensorDataset(
            torch.from_numpy(np.asarray(resampled, "f4")), torch.from_numpy(labelled)
        )
        model.train()
        for inputs, targets in DataLoader(everything, batch_size=BATCH, shuffle=True):
            loss = loss_of(model(inputs), targets).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return run


def _made(rows: Rows, precision: str) -> tuple[Recipe, Assembled, Schema]:
    """Return what `fit` makes of the rows."""
    recipe = get(
        "imbalanced-cls/smote",
        epochs=1,
        batch_size=BATCH,
        precision=precision,
        validation=FEW,
        test=0.0,
    )
    roles = Roles("target", None, None, None, None, None)
    settled, prepared = read_for(recipe, rows.frame("target"), roles, "report")
    torch.manual_seed(0)
    return settled, assemble(settled, prepared, progress=False), prepared.schema
