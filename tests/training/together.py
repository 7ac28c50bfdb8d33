"""What two processes do in the tests: `torchrun --nproc-per-node 2 together.py FOLDER`.

Also run in a single process, for what the two are compared with.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from mlexpert.blocks.samplers.class_balanced import class_balanced
from mlexpert.training import checkpoint_clock
from mlexpert.training.interrupt import Interrupted
from mlexpert.training.method import Batch, Loss, Method
from mlexpert.training.plan import Plan, Stretch
from mlexpert.training.precision import Engine
from mlexpert.training.tracking import RunFolder
from mlexpert.training.trainer import Trainer
from tests.training.test_trainer import Plain, Weighted, data, stretch

PLAN = Plan(seed=3, batch_size=15, microbatch=4, clip_norm=0.5, show_progress=False)
CPU_WORDS = "DefaultCPUAllocator: can't allocate memory"


def net(norm: bool = False, dropout: float = 0.0) -> nn.Module:
    """Two blocks, which a sharded model gathers one by one."""
    torch.manual_seed(7)
    middle = [nn.BatchNorm1d(8)] if norm else []
    return nn.Sequential(
        nn.Sequential(nn.Linear(5, 8), *middle, nn.Dropout(dropout), nn.ReLU()),
        nn.Sequential(nn.Linear(8, 8), nn.ReLU()),
        nn.Linear(8, 2),
    )


class Noise(Plain):
    """Draws for the global batch: all processes have to draw the same."""

    def draw(self, model: nn.Module, batch: Batch) -> Batch:
        return replace(batch, inputs=batch.inputs + torch.randn_like(batch.inputs) / 10)


class Failing(Plain):
    """Runs out of memory in one process."""

    def __init__(self, rank: int, where: str) -> None:
        super().__init__()
        self.where, self.left = where, 3 if int(os.environ.get("RANK", 0)) == rank else 0

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        loss = super().loss(model, batch)
        self.left -= 1
        if self.left == 0 and self.where == "forward":
            raise RuntimeError(CPU_WORDS)
        if self.left == 0:
            loss.total.register_hook(self._fail)
        return loss

    def _fail(self, gradient: torch.Tensor) -> None:
        raise RuntimeError(CPU_WORDS)


class StopIn(Plain):
    """Sends one process a signal after a step."""

    def __init__(self, rank: int, step: int) -> None:
        super().__init__()
        self.left = step if int(os.environ.get("RANK", 0)) == rank else -1

    def after_step(self, model: nn.Module, batch: Batch) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def one_task(model: nn.Module) -> list[Stretch]:
    return [stretch(model, data(101), data(41, 1), epochs=4, schedule=lambda done: 1.0 - done / 2)]


def two_tasks(model: nn.Module) -> list[Stretch]:
    """The second on the same rows in an order with repeats, with the first block frozen."""
    first = stretch(model, data(101), data(41, 1), epochs=2)
    options = {"order": class_balanced, "frozen": (model[0],), "number": 1}
    return [first, stretch(model, first.train, first.validation, epochs=2, **options)]


def train(
    folder: Path,
    method: Method,
    plan: Plan = PLAN,
    *,
    model: nn.Module | None = None,
    sharded: bool = False,
    precision: str = "fp32",
    fresh: bool = True,
    stream: Callable[[nn.Module], list[Stretch]] | None = None,
) -> Trainer:
    """Train, and let the first process write the weights."""
    model = model or net()
    engine = Engine(precision, sharded=sharded)
    run = RunFolder(folder, {}, fresh=fresh, writes=engine.processes.is_first)
    torch.manual_seed(0)
    with engine.processes:
        trainer = Trainer(model, method, (stream or one_task)(model), plan, engine, run)
        trainer.run()
    if not sharded:
        statistics = [value for value in trainer.model.buffers() if value.is_floating_point()]
        for value in statistics:
            engine.processes.same_everywhere(str(value.tolist()), "running statistic")
    whole = trainer.whole or trainer.model
    if engine.processes.is_first:
        save_file(dict(whole.state_dict()), folder / "weights.safetensors")
        (folder / "facts.json").write_text(
            json.dumps({"cut": vars(trainer.step.cut), "processes": engine.processes.count})
        )
    return trainer


def interrupted(folder: Path, method: Method, **options) -> None:
    """Train until the signal, then go on from the checkpoint."""
    try:
        train(folder, method, **options)
    except Interrupted as stop:
        if int(os.environ.get("RANK", 0)) == 0:
            (folder / "stopped.txt").write_text(str(stop))
    else:
        raise AssertionError("nothing stopped this process")
    train(folder, Plain(), fresh=False, **options)


SCENARIOS: dict[str, Callable[[Path], object]] = {
    "plain": lambda folder: train(folder, Plain()),
    "weighted": lambda folder: train(folder, Weighted()),
    "noise": lambda folder: train(folder, Noise()),
    "average": lambda folder: train(folder, Plain(), replace(PLAN, ema=0.8)),
    "auto": lambda folder: train(folder, Plain(), replace(PLAN, microbatch="auto")),
    "tasks": lambda folder: train(folder, Plain(), stream=two_tasks),
    "norm": lambda folder: train(folder, Plain(), model=net(norm=True)),
    "dropout": lambda folder: train(folder, Plain(), model=net(dropout=0.5)),
    "memory-forward": lambda folder: train(folder, Failing(1, "forward")),
    "memory-backward": lambda folder: train(folder, Failing(0, "backward")),
    "stopped": lambda folder: interrupted(folder, StopIn(1, 10)),
    "tasks-stopped": lambda folder: interrupted(folder, StopIn(1, 17), stream=two_tasks),
    "tasks-sharded": lambda folder: interrupted(
        folder, StopIn(0, 17), stream=two_tasks, sharded=True
    ),
    "sharded": lambda folder: train(folder, Plain(), sharded=True),
    "sharded-bf16": lambda folder: train(folder, Plain(), sharded=True, precision="bf16"),
    "sharded-stopped": lambda folder: interrupted(folder, StopIn(0, 10), sharded=True),
    "sharded-memory": lambda folder: train(folder, Failing(1, "forward"), sharded=True),
}


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    checkpoint_clock.CHECKPOINT_EVERY = 0.0
    folder, *names = Path(sys.argv[1]), *sys.argv[2:]
    for name in names:
        SCENARIOS[name](folder / name)


if __name__ == "__main__":
    main()
