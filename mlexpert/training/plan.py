"""What a training is given, and where it stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mlexpert.data.batches import Order, Store, drawn_order, epoch_cuts
from mlexpert.training.method import Task

Evaluate = Callable[[Tensor, Tensor, Tensor | None], dict[str, float]]
"""Maps logits (N, K), targets and weights of validation rows to scores by name."""


@dataclass(frozen=True)
class Plan:
    """In what pieces to train, and which weights to keep."""

    seed: int
    batch_size: int
    batch_tokens: int | None = None
    microbatch: int | Literal["auto"] | None = None
    patience: int = 0
    clip_norm: float = 0.0
    ema: float = 0.0
    compile: bool = False
    channels_last: bool | Literal["auto"] = False
    monitor: str = "log_loss"
    keep: Literal["best", "last"] = "best"
    profile: bool = False
    show_progress: bool = True


@dataclass(frozen=True)
class Data:
    """Encoded inputs, their targets (N,) or (N, K), and their weights (N,) where they have any."""

    store: Store
    targets: Tensor
    weights: Tensor | None = None

    def to(self, device: torch.device) -> Data:
        """Return the data on `device`, where that has room for them twice over."""
        fits = device.type != "cuda" or self.store.nbytes < torch.cuda.mem_get_info(device)[0] // 2
        weights = None if self.weights is None else self.weights.to(device)
        store = self.store.to(device) if fits else self.store
        return Data(store, self.targets.to(device), weights)

    def select(self, rows: Tensor) -> Data:
        """Return the rows at `rows` (N',); one after another, they share the memory of these."""
        weights = None if self.weights is None else self.weights[rows]
        return Data(self.store.select(rows), self.targets[rows], weights)

    def weights_of(self, index: Tensor) -> Tensor | None:
        """Return the weights (B,) of the rows at `index`, on the device of both."""
        return None if self.weights is None else self.weights[index]


@dataclass(frozen=True)
class Stage:
    """How the weights are moved on the rows of one task.

    Attributes:
        epochs: Passes over the training rows; 0 where the method learns at the task's end alone.
        optimizer: Over the model's parameters, or some of them; its learning rate is the peak. One
            that a later stage has too keeps what it gathered until then.
        schedule: Maps the fraction of the stage done, in [0, 1], to a factor on the learning rate.
        order: Draws the rows of an epoch; None: a permutation.
        rows: Rows that `order` draws for an epoch; None: as many as there are.
        frozen: Modules that take no gradient and stay in eval mode. What the optimiser does not
            hold takes no gradient either.
        evaluate: Scores validation after an epoch; None: as the recipe's other stages.
    """

    epochs: int
    optimizer: Optimizer
    schedule: Callable[[float], float]
    order: Order | None = None
    frozen: tuple[nn.Module, ...] = ()
    evaluate: Evaluate | None = None
    rows: int | None = None


@dataclass(frozen=True)
class Stretch:
    """A task of a stream, which is trained to its end before the next one begins.

    Attributes:
        task: What the method is told of it.
        train: Rows to train on; where the stretch before has the very same object, they are on the
            device already and the batch is cut as it was.
        validation: Rows that are scored after every epoch; of all tasks so far, perhaps.
        evaluate: Scores them; None leaves that to the method's `examine`.
        stage: How it is trained.
    """

    task: Task
    train: Data
    validation: Data
    evaluate: Evaluate | None
    stage: Stage

    def without_steps(self) -> Stretch:
        """Return the same without an epoch: what the method does at its end is all."""
        return replace(self, stage=replace(self.stage, epochs=0))


def epoch_batches(
    train: Data, stage: Stage, plan: Plan, *, epoch: int, progress: float
) -> list[Tensor]:
    """Return an epoch's batches: of seed and epoch alone, and so the same in all processes.

    Args:
        train: The rows.
        stage: Says which of them an epoch visits.
        plan: Says how they are cut.
        epoch: From 0, counted over all stages.
        progress: Fraction of the stage that is done, in [0, 1).
    """
    order = None
    if stage.order is not None:
        order = drawn_order(
            stage.order, train.targets, progress, seed=plan.seed, epoch=epoch, rows=stage.rows
        )
    return epoch_cuts(
        train.store,
        plan.batch_size,
        seed=plan.seed,
        epoch=epoch,
        order=order,
        batch_tokens=plan.batch_tokens,
    )


@dataclass
class Position:
    """Where training stands: all of it is in every checkpoint."""

    task: int = 0
    """Number of the stretch in the stream."""
    begun: int = 0
    """Epochs that earlier tasks took."""
    epoch: int = 0
    """Epochs done, of all tasks: no two have one order of rows."""
    batch: int = 0
    step: int = 0
    moved: int = 0
    """Optimiser steps of this task that were not skipped; the schedule counts these."""
    loss_sum: float = 0.0
    loss_count: float = 0.0
    seconds: float = 0.0
    before: float = 0.0
    """Seconds that earlier tasks took."""
    stale: int = 0
    done: bool = False
    best: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)

    def next_task(self) -> Position:
        """Return the position at the start of the task after this one."""
        return Position(
            task=self.task + 1,
            begun=self.epoch,
            epoch=self.epoch,
            step=self.step,
            seconds=self.seconds,
            before=self.seconds,
        )

    def kept(self, keep: Literal["best", "last"]) -> dict[str, float]:
        """Return the scores of the epoch whose weights are kept."""
        return self.last if keep == "last" else self.best
