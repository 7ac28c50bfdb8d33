"""What is decided before the first step: how to compute, and what fits in memory."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mlexpert.data.batches import batches, row_lengths
from mlexpert.data.ledger import default_home
from mlexpert.data.token_budget import rows_within
from mlexpert.errors import RunError
from mlexpert.training.activation_checkpointing import checkpoint_blocks, uncheckpoint
from mlexpert.training.arithmetic import choose_arithmetic
from mlexpert.training.memory import Sizing, size_microbatch
from mlexpert.training.memory.measure import available_on
from mlexpert.training.memory.sizing import mib
from mlexpert.training.method import Batch, Method
from mlexpert.training.pieces import pieces
from mlexpert.training.plan import Data, Plan
from mlexpert.training.precision import Engine
from mlexpert.training.step import Cut

if TYPE_CHECKING:
    from mlexpert.training.trainer import Trainer


def settle(trainer: Trainer, train: Data) -> None:
    """Decide how a task is computed and its batches are cut; nothing that is trained moves.

    A whole stream is computed in one way. Only what fits in memory is found anew, for a task whose
    steps take more than those before: the batch as it is drawn is larger, or the method holds more.
    """
    if not trainer.stretch.stage.epochs:  # nothing is computed that half precision is meant for
        choice = {"precision": "fp32", "channels_last": False, "why": "fp32: nothing is trained by "
                  "gradients.", "trials": []}  # fmt: skip
        compute_by(choice, trainer.model, trainer.engine)
        trainer.arithmetic = choice
        trainer.folder.update(arithmetic=choice)
        return
    trainer.model.train()  # in eval mode, as the task before left it, a step takes less
    trainer.frozen.keep_still()
    parts, plan, engine = (trainer.model, trainer.method), trainer.plan, trainer.engine
    optimizer, before = trainer.stretch.stage.optimizer, trainer.stream[: trainer.at.task]
    if before:
        is_new = before[-1].train is not trainer.stretch.train
        if is_new and plan.microbatch == "auto" and not engine.is_sharded:
            demand = _demand(trainer, train)
            if trainer.demand and all(
                now <= then for now, then in zip(demand, trainer.demand, strict=True)
            ):
                return
            trainer.demand = demand
            found = settle_memory(*parts, optimizer, engine, train, plan)
            # Blocks that compute their activations again go on doing so.
            again = found.checkpointing or trainer.cut.checkpointing
            _take_up(trainer, replace(found, checkpointing=again))
        return
    weights = sum(tensor.nbytes for tensor in trainer.model.state_dict().values())
    is_roomy = 8 * weights <= free_for_training(trainer.model, engine)
    on_cpu = engine.device.type == "cpu"
    if not on_cpu:  # by rule; what fits depends on it
        trainer.arithmetic = settle_arithmetic(*parts, engine, train, plan)
    if plan.microbatch == "auto" and not engine.is_sharded:
        if len(trainer.stream) > 1:
            trainer.demand = _demand(trainer, train)
        found = settle_memory(*parts, optimizer, engine, train, plan)
        _take_up(trainer, found)
        is_roomy = found.is_roomy
    if on_cpu:  # by trying, for which there has to be room
        may_try = is_roomy and not engine.is_sharded
        trainer.arithmetic = settle_arithmetic(*parts, engine, train, plan, may_try=may_try)
    trainer.folder.update(arithmetic=trainer.arithmetic)


def _demand(trainer: Trainer, train: Data) -> tuple[int, ...]:
    """Return what the memory of a step grows with: sizes of the batch, and bytes that are held."""
    batch = longest_batch(train, trainer.plan, trainer.engine)
    _, drawn = drawn_batch(trainer.model, trainer.method, batch)
    held = sum(tensor.nbytes for tensor in trainer.method.state_dict().values()
               if isinstance(tensor, Tensor))  # fmt: skip
    return (*drawn.inputs.shape, held)


def _take_up(trainer: Trainer, found: Sizing) -> None:
    trainer.cut = cut_of(found)
    trainer.folder.update(memory=found.record())


def cut_of(found: Sizing) -> Cut:
    """Return how batches are to be cut after a micro-batch was chosen."""
    # A last batch may have a row more, which is no reason to cut it.
    size = found.size + (found.size == found.batch_size)
    return Cut(size, found.width, found.checkpointing, found.tight, looks=found.looks)


def settle_arithmetic(
    model: nn.Module,
    method: Method,
    engine: Engine,
    train: Data,
    plan: Plan,
    *,
    may_try: bool = True,
) -> dict:
    """Decide on precision and memory layout, by trying where they are undecided.

    Args:
        model: On the engine's device.
        method: After `begin_task`.
        engine: Computes as decided from here on.
        train: Of which the first micro-batch is tried.
        plan: Its micro-batch, where it is a number, and what it asks of the layout.
        may_try: Whether copies of the model can be made and tried.

    Returns:
        What was tried and chosen, for the run's record.
    """
    if not may_try:
        why = f"{engine.precision}: nothing else was tried, as "
        why += "the model is sharded." if engine.is_sharded else "memory is too short for copies."
        layout = plan.channels_last is True
        choice = {"precision": engine.precision, "channels_last": layout, "why": why, "trials": []}
        compute_by(choice, model, engine)
        return choice
    batch = longest_batch(train, plan, engine)
    if isinstance(plan.microbatch, int):
        batch = pieces(batch, plan.microbatch)[0]
    model.train()

    def choose() -> dict:
        choice = choose_arithmetic(
            model,
            method,
            batch,
            precision=engine.precision if engine.is_decided else "auto",
            channels_last=plan.channels_last,
            home=default_home(),
        )
        return choice.record()

    choice = engine.processes.first_does(choose)
    compute_by(choice, model, engine)
    return choice


def compute_by(choice: dict, model: nn.Module, engine: Engine) -> None:
    """Take up the precision and the memory layout of a choice."""
    engine.decide(choice["precision"])
    if choice["channels_last"]:
        model.to(memory_format=torch.channels_last)


def settle_memory(
    model: nn.Module,
    method: Method,
    optimizer: Optimizer,
    engine: Engine,
    train: Data,
    plan: Plan,
) -> Sizing:
    """Choose a micro-batch that fits, with activations computed again where nothing else does.

    Raises:
        RunError: If not even that makes a single row fit.
    """
    method, drawn = drawn_batch(model, method, longest_batch(train, plan, engine))
    width = drawn.inputs.shape[1] if train.store.is_ragged else None

    def size() -> Sizing:
        return size_microbatch(
            model,
            method,
            optimizer,
            drawn,
            batch_size=len(drawn),
            width=width,
            autocast=engine.autocast,
            available=free_for_training(model, engine),
            agree_min=engine.processes.smallest,
        )

    sizing = size()
    if sizing.size == 0 and checkpoint_blocks(model):
        sizing = replace(size(), checkpointing=True)
        if sizing.size == 0:
            uncheckpoint(model)
    if sizing.size == 0:
        again = (
            " although activations are computed again in backward" if sizing.checkpointing else ""
        )
        needed = "more" if sizing.needed is None else mib(sizing.needed)
        raise RunError(
            f"Training does not fit in memory{again}: the smallest micro-batch needs {needed}, and "
            f"{mib(sizing.available)} are available. A smaller model or smaller inputs need less; "
            "microbatch=1 tries all the same, in a new run_dir."
        )
    return sizing


def free_for_training(model: nn.Module, engine: Engine) -> int:
    """Return the bytes that a training step may take of this process's device.

    Left out is what training holds besides: the best epoch's weights, and once an epoch a copy that
    the update of each layer is measured against. On a CPU processes share what is free.
    """
    held = 2 * sum(tensor.nbytes for tensor in model.state_dict().values())
    on_cpu = engine.device.type == "cpu"
    sharers = int(os.environ.get("LOCAL_WORLD_SIZE", engine.processes.count)) if on_cpu else 1
    return max(0, available_on(engine.device) // sharers - held)


def longest_batch(train: Data, plan: Plan, engine: Engine) -> Batch:
    """Return this process's share of a global batch, of the rows that need most memory."""
    count = plan.batch_size
    lengths = row_lengths(train.store)
    if plan.batch_tokens is not None and lengths is not None:  # the longest bucket's batch
        count = min(len(lengths), rows_within(int(lengths.max()), plan.batch_tokens))
    rows = train.store.longest(-(-count // engine.processes.count))
    ((inputs, targets, index),) = batches(train.store, train.targets, [rows])
    return Batch(inputs.to(engine.device), targets, index, train.weights_of(index))


def drawn_batch(model: nn.Module, method: Method, batch: Batch) -> tuple[Method, Batch]:
    """Return a copy of the method that has drawn the batch, and what it drew.

    The method itself and random numbers are left alone; a copy that has not drawn may know nothing
    of the rows whose loss it is asked for.
    """
    cuda = [batch.inputs.device] if batch.inputs.is_cuda else []
    copied = copy.deepcopy(method)
    with torch.random.fork_rng(devices=cuda):
        return copied, copied.draw(model, batch)
