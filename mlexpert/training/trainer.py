"""The one training loop, readable from top to bottom. Nothing else moves the weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mlexpert.data.batches import Store, batches, cut, epoch_order
from mlexpert.errors import RunError
from mlexpert.training import checkpoint
from mlexpert.training.average import WeightAverage
from mlexpert.training.interrupt import Interrupted, StopSignal
from mlexpert.training.method import Batch, Method, Task
from mlexpert.training.precision import Engine
from mlexpert.training.progress import Bar
from mlexpert.training.tracking import RunFolder

CHECKPOINT_EVERY = 15.0
"""Seconds of training that a killed process loses at the most."""
EVALUATION_BATCH = 512


@dataclass(frozen=True)
class Plan:
    """How long and in what pieces to train."""

    seed: int
    epochs: int
    batch_size: int
    microbatch: int | None = None
    patience: int = 0
    clip_norm: float = 0.0
    ema: float = 0.0
    monitor: str = "log_loss"
    show_progress: bool = True


@dataclass(frozen=True)
class Data:
    """Encoded inputs and their targets (N,)."""

    store: Store
    targets: Tensor

    def to(self, device: torch.device) -> Data:
        """Return the data on `device`, where that has room for them twice over."""
        fits = device.type != "cuda" or self.store.nbytes < torch.cuda.mem_get_info(device)[0] // 2
        return Data(self.store.to(device) if fits else self.store, self.targets.to(device))


@dataclass
class Position:
    """Where training stands: all of it is in every checkpoint."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    moved: int = 0
    """Optimiser steps that were not skipped; the schedule counts these."""
    loss_sum: float = 0.0
    loss_count: float = 0.0
    seconds: float = 0.0
    stale: int = 0
    done: bool = False
    best: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)


class Trainer:
    """Trains one recipe's parts on one task, from the start or from the newest checkpoint."""

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        optimizer: Optimizer,
        schedule: Callable[[float], float],
        evaluate: Callable[[Tensor, Tensor], dict[str, float]],
        plan: Plan,
        engine: Engine,
        folder: RunFolder,
    ) -> None:
        self.model, self.method, self.optimizer = (
            engine.place(model),
            engine.place(method),
            optimizer,
        )
        self.schedule, self.evaluate = schedule, evaluate
        self.plan, self.engine, self.folder = plan, engine, folder
        self.peaks = [group["lr"] for group in optimizer.param_groups]
        self.at = Position()
        self.best_weights: dict[str, Tensor] = {}
        self.average = WeightAverage(self.model, plan.ema) if plan.ema else None
        # Reading a number back waits for a GPU, so there the loss is looked at only now and then.
        self.look_every = 1 if engine.device.type == "cpu" else 50
        self._loss = torch.zeros((), device=engine.device)
        self._count: Tensor | float = 0.0
        self._last_checkpoint = time.monotonic()
        self._checkpoint_every = CHECKPOINT_EVERY

    def run(self, task: Task, train: Data, validation: Data) -> Position:
        """Train to the end, put the best epoch's weights in place, and return where training ended.

        Raises:
            RunError: If a loss is not finite, or the disk is full.
            Interrupted: On Ctrl-C or SIGTERM, after the step under way, with a checkpoint kept.
        """
        train, validation = train.to(self.engine.device), validation.to(self.engine.device)
        resumed = self._resume()
        total = self.plan.epochs * len(cut(torch.empty(len(train.targets)), self.plan.batch_size))
        with StopSignal() as stop, Bar(total, self.at.step, shown=self.plan.show_progress) as bar:
            if not resumed:
                self.method.begin_task(self.model, task)
            while self.at.epoch < self.plan.epochs and not self.at.done:
                self._epoch(train, total, stop, bar)
                self._end_epoch(validation, total, bar)
            self.method.end_task(self.model, task)
        self.model.load_state_dict(self.best_weights)
        return self.at

    def _epoch(self, train: Data, total: int, stop: StopSignal, bar: Bar) -> None:
        self.model.train()
        started = time.monotonic()
        order = epoch_order(len(train.targets), seed=self.plan.seed, epoch=self.at.epoch)
        cuts = cut(order, self.plan.batch_size)[self.at.batch :]
        for inputs, targets, index in batches(train.store, train.targets, cuts):
            self._set_lr(self.at.moved / total)
            batch = Batch(inputs.to(self.engine.device), targets, index)
            self._step(self.method.draw(self.model, batch))
            self.at.batch += 1
            self.at.step += 1
            bar.show(self.at.step)
            if self.at.step % self.look_every == 0:
                self._check_finite()
            if stop.received or time.monotonic() - self._last_checkpoint > self._checkpoint_every:
                now = time.monotonic()
                self.at.seconds, started = self.at.seconds + now - started, now
                kept = self._checkpoint()
                if stop.received:
                    raise Interrupted(
                        f"Stopped by {stop.received.name} after step {self.at.step} of {total}; "
                        f"{kept} is kept. To go on, fit again with "
                        f"run_dir={str(self.folder.path)!r}."
                    )
        self._check_finite()
        self.at.seconds += time.monotonic() - started

    def _step(self, batch: Batch) -> None:
        """Move the weights once; the gradient is divided by the count of all micro-batches."""
        self.optimizer.zero_grad(set_to_none=True)
        pieces = _pieces(batch, self.plan.microbatch)
        total: Tensor | float = 0.0
        count: Tensor | float = 0.0
        for piece in pieces:
            with self.engine.autocast():
                loss = self.method.loss(self.model, piece)
            divisor = loss.count if len(pieces) == 1 else float(len(batch))
            self.engine.backward(loss.total / divisor)
            total, count = total + loss.total.detach(), count + loss.count

        def prepare() -> None:
            if len(pieces) > 1:
                _scale_gradients(self.model, len(batch) / count)
            self.method.after_backward(self.model)
            if self.plan.clip_norm:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip_norm)

        if self.engine.step(self.optimizer, prepare):
            self.at.moved += 1
            if self.average is not None:
                self.average.update()
            self.method.after_step(self.model, batch)
        self._loss += total
        self._count += count

    def _end_epoch(self, validation: Data, total: int, bar: Bar) -> None:
        self.at.epoch, self.at.batch = self.at.epoch + 1, 0
        row = {"step": self.at.step, "epoch": self.at.epoch, "seconds": self.at.seconds}
        mean = float(self._loss / self._count)
        self._loss, self._count = torch.zeros_like(self._loss), 0.0
        lr = self.optimizer.param_groups[0]["lr"]
        self.folder.log({**row, "split": "train", "loss": mean, "lr": lr})
        monitor = self.plan.monitor
        with self.average.in_place() if self.average is not None else nullcontext():
            logits = logits_of(self.model, validation.store, self.engine.device)
            scores = self.evaluate(logits, validation.targets.cpu())
            if not math.isfinite(scores[monitor]):
                raise RunError(
                    f"Validation {monitor} is {scores[monitor]} after epoch {self.at.epoch}. "
                    f"{self._what_now()}"
                )
            is_best = not self.at.best or scores[monitor] < self.at.best[monitor]
            if is_best:
                state = self.model.state_dict()
                self.best_weights = {name: value.clone() for name, value in state.items()}
        self.folder.log({**row, "split": "validation", **scores})
        self.at.last = {"epoch": self.at.epoch, **scores}
        if is_best:
            self.at.best, self.at.stale = dict(self.at.last), 0
        else:
            self.at.stale += 1
        self.at.done = bool(self.plan.patience) and self.at.stale >= self.plan.patience
        bar.say(
            self.at.step if not self.at.done else total,
            f"epoch {self.at.epoch}  {monitor} {scores[monitor]:.4f}",
        )

    def _set_lr(self, fraction: float) -> None:
        factor = self.schedule(fraction)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor

    def _check_finite(self) -> None:
        if not math.isfinite(float(self._loss)):
            raise RunError(
                f"The loss is not finite at step {self.at.step} (epoch {self.at.epoch + 1}). "
                f"{self._what_now()}"
            )

    def _what_now(self) -> str:
        kept = sorted(self.folder.checkpoints.glob("step-*"))
        state = f"The checkpoint {kept[-1]} is kept." if kept else "There is no checkpoint yet."
        return f"{state} A lower lr or clip_norm=1.0 usually helps, in a new run_dir."

    def _checkpoint(self) -> Path:
        self._check_finite()
        started = time.monotonic()
        self.at.loss_sum, self.at.loss_count = float(self._loss), float(self._count)
        extra = {f"best.{name}": value for name, value in self.best_weights.items()}
        if self.average is not None:
            extra |= {f"average.{name}": value for name, value in self.average.state().items()}
        tensors, rest = checkpoint.pack(self.model, self.method, self.optimizer, extra)
        path = checkpoint.write(
            self.folder.checkpoints,
            self.at.step,
            tensors,
            {
                "position": asdict(self.at),
                "optimizer": rest,
                "scaler": self.engine.scaler.state_dict() if self.engine.scaler else None,
            },
        )
        written = time.monotonic()
        # A large model must not spend its time on saving: a twentieth of it at the most.
        self._checkpoint_every = max(CHECKPOINT_EVERY, 20 * (written - started))
        self._last_checkpoint = written
        return path

    def _resume(self) -> bool:
        found = checkpoint.read_newest(self.folder.checkpoints)
        if found is None:
            self.folder.forget_after(0)
            return False
        tensors, state = found
        extra = checkpoint.unpack(
            tensors, state["optimizer"], self.model, self.method, self.optimizer
        )
        if self.engine.scaler is not None:
            self.engine.scaler.load_state_dict(state["scaler"])
        device = self.engine.device
        best = checkpoint.under("best.", extra)
        self.best_weights = {name: value.to(device) for name, value in best.items()}
        if self.average is not None:
            self.average.restore(checkpoint.under("average.", extra))
        self.at = Position(**state["position"])
        self._loss, self._count = torch.tensor(self.at.loss_sum, device=device), self.at.loss_count
        self.folder.forget_after(self.at.epoch)
        return True


@torch.inference_mode()
def logits_of(
    model: nn.Module, store: Store, device: torch.device, index: Tensor | None = None
) -> Tensor:
    """Return the model's logits (N, K), in fp32 and in eval mode, on the CPU.

    Args:
        model: In place on `device`; it is left in eval mode.
        store: The encoded rows.
        device: Where the model is.
        index: (N,) rows to look at; all where None.
    """
    model.eval()
    cuts = list((torch.arange(len(store)) if index is None else index).split(EVALUATION_BATCH))
    nobody = torch.zeros(len(store), dtype=torch.long)  # rows to predict have no targets
    rows = [model(inputs.to(device)).float() for inputs, _, _ in batches(store, nobody, cuts)]
    return torch.cat(rows).cpu()


def _pieces(batch: Batch, size: int | None) -> list[Batch]:
    if size is None or size >= len(batch):
        return [batch]
    # Even pieces: a rest of one row would leave BatchNorm without a variance.
    count = -(-len(batch) // size)
    columns = (batch.inputs, batch.targets, batch.index)
    cuts = zip(*(column.tensor_split(count) for column in columns), strict=True)
    return [Batch(*piece) for piece in cuts]


def _scale_gradients(model: nn.Module, factor: Tensor | float) -> None:
    """Correct a division by the number of examples to one by the true count."""
    if isinstance(factor, Tensor) or factor != 1.0:
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)
