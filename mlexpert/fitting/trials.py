"""What can be asked of a recipe and a user's data before training: memory, and a learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import nn
from torch.optim import Optimizer

from mlexpert.data.batches import batches
from mlexpert.fitting.assembly import Assembled, assemble, read_for
from mlexpert.preparation import Prepared, Roles
from mlexpert.recipe import Recipe
from mlexpert.training.lr_range import LrRange
from mlexpert.training.lr_range import lr_range as sweep
from mlexpert.training.memory import predict_only
from mlexpert.training.memory.choose import MARGIN
from mlexpert.training.method import Batch, Method, Task
from mlexpert.training.plan import Data, epoch_batches
from mlexpert.training.precision import Engine
from mlexpert.training.settling import (
    cut_of,
    drawn_batch,
    free_for_training,
    longest_batch,
    settle_memory,
)
from mlexpert.training.step import Cut, Step


@dataclass(frozen=True)
class MemoryForecast:
    """What a training step is predicted to take, and what there is.

    Attributes:
        peaks: Micro-batch in rows to its peak in bytes beyond weights and data; None if unknown.
        weights: Bytes of the model's parameters and buffers.
        available: Bytes that a step may take: what is free on the device, without what training
            holds besides.
        device: Where it would train.
        width: Length in tokens of the longest sequences, for which this holds; None for inputs of
            one size.
        unpredicted: Why something is not known; empty where all is.
    """

    peaks: dict[int, int | None]
    weights: int
    available: int
    device: str
    width: int | None
    unpredicted: str

    def fits(self, size: int) -> bool | None:
        """Tell whether micro-batches of so many rows fit, a tenth being left alone."""
        peak = self.peaks[size]
        return None if peak is None else peak <= (1 - MARGIN) * self.available


def predict_memory(
    recipe: Recipe,
    ds: Any,
    *,
    target: str | list[str] | None = None,
    inputs: str | list[str] | None = None,
    group: str | None = None,
    time: str | None = None,
    sample_weight: str | ArrayLike | None = None,
) -> MemoryForecast:
    """Predict the memory of a training step over the micro-batch, without making one.

    Args:
        recipe: What would be trained.
        ds: Data as `recipe.fit` takes them.
        target: As in `fit`.
        inputs: As in `fit`.
        group: As in `fit`.
        time: As in `fit`.
        sample_weight: As in `fit`.

    Raises:
        InputError: If data, roles or fields are refused.
    """
    roles = Roles(target, inputs, group, time, sample_weight=sample_weight)
    settled, prepared = read_for(recipe, ds, roles, "report")
    engine = Engine(settled.precision)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(settled.seed)
        made = assemble(settled, prepared, progress=False)
        model, method, optimizer = _placed(made, engine)
        method.begin_task(model, _task(prepared))
        batch = longest_batch(made.train.to(engine.device), made.plan, engine)
        method, batch = drawn_batch(model, method, batch)
        width = batch.inputs.shape[1] if made.train.store.is_ragged else None
        predicted = predict_only(
            model, method, optimizer, batch, width=width, autocast=engine.autocast
        )
    return MemoryForecast(
        peaks={size: prediction.peak for size, prediction in predicted.items()},
        weights=sum(tensor.nbytes for tensor in model.state_dict().values()),
        available=free_for_training(model, engine),
        device=str(engine.device),
        width=width,
        unpredicted=next((p.reason for p in predicted.values() if p.peak is None), ""),
    )


def lr_range(
    recipe: Recipe,
    ds: Any,
    *,
    target: str | list[str] | None = None,
    inputs: str | list[str] | None = None,
    group: str | None = None,
    time: str | None = None,
    sample_weight: str | ArrayLike | None = None,
    start: float = 1e-6,
    end: float = 10.0,
    num_steps: int = 100,
) -> LrRange:
    """Sweep the learning rate over the first steps of a recipe on training rows.

    The recipe, its files and the sealed test rows are left alone. What it gives is a bracket, not
    an optimum; see `mlexpert.training.lr_range`.

    Args:
        recipe: What would be trained.
        ds: Data as `recipe.fit` takes them.
        target: As in `fit`.
        inputs: As in `fit`.
        group: As in `fit`.
        time: As in `fit`.
        sample_weight: As in `fit`.
        start: Rate of the first step.
        end: Rate of the last step.
        num_steps: Most steps to make.

    Raises:
        InputError: If data, roles, fields or range are refused.
    """
    roles = Roles(target, inputs, group, time, sample_weight=sample_weight)
    settled, prepared = read_for(recipe, ds, roles, "report")
    engine = Engine(settled.precision)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(settled.seed)
        made = assemble(settled, prepared, progress=False)
        return sweep(
            _step_at(made, _task(prepared), engine), start=start, end=end, num_steps=num_steps
        )


def _task(prepared: Prepared) -> Task:
    return Task(number=0, class_counts=torch.tensor(prepared.schema.class_counts))


def _placed(made: Assembled, engine: Engine) -> tuple[nn.Module, Method, Optimizer]:
    parts = made.parts
    return engine.place(parts.network.model), engine.place(parts.method), parts.optimizer


def _step_at(made: Assembled, task: Task, engine: Engine) -> Callable[[float], float]:
    plan = made.plan
    model, method, optimizer = _placed(made, engine)
    method.begin_task(model, task)
    train = made.train.to(engine.device)
    if plan.microbatch == "auto":
        cut = cut_of(settle_memory(model, method, optimizer, engine, train, plan))
    else:
        cut = Cut(plan.microbatch or plan.batch_size)
    step = Step(
        model,
        method,
        optimizer,
        engine,
        cut,
        clip_norm=plan.clip_norm,
        seed=plan.seed,
        on_retry=lambda cut, error: None,
    )
    # Groups keep their ratios to the first: layer-wise decay stays what it is.
    groups = optimizer.param_groups
    ratios = [group["lr"] / (groups[0]["lr"] or 1.0) for group in groups]
    rows, numbers = _endless(train, made, engine), count(1)
    model.train()

    def move(lr: float) -> float:
        for group, ratio in zip(groups, ratios, strict=True):
            group["lr"] = lr * ratio
        batch = method.draw(model, next(rows))
        moved, total, rows_seen = step(batch, next(numbers), look=False)
        if moved:
            method.after_step(model, batch)
        return float(total) / float(rows_seen)

    return move


def _endless(train: Data, made: Assembled, engine: Engine) -> Iterator[Batch]:
    stage = made.stream[0].stage
    for epoch in count():
        cuts = epoch_batches(train, stage, made.plan, epoch=epoch, progress=0.0)
        for inputs, targets, index in batches(train.store, train.targets, cuts):
            yield Batch(inputs.to(engine.device), targets, index, train.weights_of(index))
