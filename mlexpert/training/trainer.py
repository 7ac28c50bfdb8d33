"""The one training loop, readable from top to bottom. Nothing else moves the weights."""

from __future__ import annotations

import copy
import math
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mlexpert.blocks.layers.image_views import one_view
from mlexpert.data.batches import Store, batches, cut, epoch_cuts
from mlexpert.errors import InputError, RunError
from mlexpert.training.average import WeightAverage
from mlexpert.training.evaluation import LARGEST, logits_of
from mlexpert.training.gradient_health import GradientHealth
from mlexpert.training.interrupt import STOPS, Interrupted, StopSignal
from mlexpert.training.method import Batch, Method, Task
from mlexpert.training.phases import OFF, Phases, Profile
from mlexpert.training.plan import Data, Plan, Position
from mlexpert.training.precision import Engine
from mlexpert.training.progress import Bar
from mlexpert.training.resuming import go_on, save
from mlexpert.training.settling import settle
from mlexpert.training.sharding import shard, whole
from mlexpert.training.step import Cut, NotFinite, Step
from mlexpert.training.tracking import HEALTH, RunFolder

CHECKPOINT_EVERY = 15.0
"""Seconds of training that a killed process loses at the most."""


class Trainer:
    """Trains one recipe's parts on one task, from the start or from the newest checkpoint."""

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        optimizer: Optimizer,
        schedule: Callable[[float], float],
        evaluate: Callable[[Tensor, Tensor, Tensor | None], dict[str, float]],
        plan: Plan,
        engine: Engine,
        folder: RunFolder,
    ) -> None:
        self.whole = copy.deepcopy(model) if engine.is_sharded else None
        if engine.is_sharded:
            shard(model, optimizer)
        self.model, self.method = engine.place(model), engine.place(method)
        self.optimizer = optimizer
        self.schedule, self.evaluate = schedule, evaluate
        self.plan, self.engine, self.folder = plan, engine, folder
        self.processes = engine.processes
        self.peaks = [group["lr"] for group in optimizer.param_groups]
        self.at = Position()
        self.best_weights: dict[str, Tensor] = {}
        self.average = WeightAverage(self.model, plan.ema) if plan.ema else None
        self.health = GradientHealth(self.model)
        self.phases: Phases = OFF
        self.arithmetic: dict[str, Any] = {}
        self.step = Step(
            self.model,
            self.method,
            optimizer,
            engine,
            # A number is a sign of short memory: no more rows are looked at together.
            Cut(plan.microbatch, looks=min(LARGEST, plan.microbatch))
            if isinstance(plan.microbatch, int)
            else Cut(sys.maxsize),
            clip_norm=plan.clip_norm,
            seed=plan.seed,
            on_retry=self._say_retry,
        )
        # Reading a number back waits for a GPU, so there the loss is looked at only now and then.
        self.look_every = 1 if engine.device.type == "cpu" else 50
        self.loss_sum: Tensor | float = 0.0
        self.loss_count: Tensor | float = 0.0
        self._last_checkpoint = time.monotonic()
        self._checkpoint_every = CHECKPOINT_EVERY
        self._factor: float | None = None

    def run(self, task: Task, train: Data, validation: Data) -> Position:
        """Train to the end, put the best epoch's weights in place, and return where training ended.

        Raises:
            RunError: If a loss is not finite, memory runs out, or the disk is full.
            Interrupted: On Ctrl-C or SIGTERM, after the step under way, with a checkpoint kept.
        """
        train, validation = train.to(self.engine.device), validation.to(self.engine.device)
        cuts = cut(torch.empty(len(train.targets)), self.plan.batch_size)
        if self.engine.is_sharded and min(map(len, cuts)) < self.processes.count:
            raise InputError(
                f"A last batch of {min(map(len, cuts))} rows is not enough for each of "
                f"{self.processes.count} processes of a sharded model; change batch_size."
            )
        total = self.plan.epochs * len(cuts)
        shown = self.plan.show_progress and self.processes.is_first
        with StopSignal() as stop:
            # Also before a checkpoint is read: it fills what a method makes here.
            self.method.begin_task(self.model, task)
            self.engine.place(self.method)
            if not go_on(self):
                settle(self, train)
                self._checkpoint()  # what was decided holds, however early the run is killed
            if self.plan.compile:
                self.model.compile()
            if self.plan.profile and self.processes.is_first:
                self.phases = self.step.phases = Profile(
                    self.folder.path, self.engine.device, total - self.at.step
                )
            try:
                with Bar(total, self.at.step, self.description, shown=shown) as bar:
                    while self.at.epoch < self.plan.epochs and not self.at.done:
                        self._epoch(train, total, stop, bar)
                        self._end_epoch(validation, total, bar)
            finally:
                self.phases.close()
            self.method.end_task(self.model, task)
        self.model.load_state_dict(self.best_weights)
        # As a loaded model lies: the same kernels then give the same predictions, to the last bit.
        self.model.to(memory_format=torch.contiguous_format)
        self.optimizer.zero_grad()
        self.optimizer.state.clear()  # the model is still to be written, and that takes memory
        if self.whole is not None:
            self.whole.load_state_dict({k: whole(v).cpu() for k, v in self.best_weights.items()})
        self.best_weights = {}
        return self.at

    def _epoch(self, train: Data, total: int, stop: StopSignal, bar: Bar) -> None:
        self.model.train()
        started = time.monotonic()
        cuts = epoch_cuts(
            train.store, self.plan.batch_size, seed=self.plan.seed, epoch=self.at.epoch
        )
        left = cuts[self.at.batch :]
        rows = self.phases.fetched(batches(train.store, train.targets, left))
        for inputs, targets, index in rows:
            self._set_lr(self.at.moved / total)
            with self.phases("data"):
                weights = train.weights_of(index)
                batch = Batch(inputs.to(self.engine.device), targets, index, weights)
                batch = self.method.draw(self.model, batch)
            self._move(batch)
            bar.show(self.at.step)
            is_due, stopped_by = self._has_to_save(stop)
            if is_due:
                now = time.monotonic()
                self.at.seconds, started = self.at.seconds + now - started, now
                with self.phases("checkpoint"):
                    kept = self._checkpoint()
                if stopped_by:
                    raise Interrupted(
                        f"Stopped by {stopped_by.name} after step {self.at.step} of {total}; "
                        f"{kept} is kept. To go on, fit again with "
                        f"run_dir={str(self.folder.path)!r}."
                    )
        self.at.seconds += time.monotonic() - started

    def _move(self, batch: Batch) -> None:
        """Make one step, and all that follows a step."""
        # Once an epoch: a look at every layer costs as much as a step.
        health = self.health if self.at.batch == 0 and not self.engine.is_sharded else None
        look = (self.at.step + 1) % self.look_every == 0
        try:
            moved, loss, count = self.step(batch, self.at.step + 1, look=look, health=health)
        except NotFinite as found:
            raise self._not_finite("The loss", self.at.step + 1, str(found)) from None
        if moved:
            self.at.moved += 1
            if self.average is not None:
                self.average.update()
            self.method.after_step(self.model, batch)
        self.at.batch, self.at.step = self.at.batch + 1, self.at.step + 1
        self.loss_sum, self.loss_count = self.loss_sum + loss, self.loss_count + count
        if health is not None:
            at = {"step": self.at.step, "epoch": self.at.epoch + 1}
            self.folder.log({**at, "layers": health.after()}, HEALTH)
        self.phases.step()

    def _end_epoch(self, validation: Data, total: int, bar: Bar) -> None:
        self.at.epoch, self.at.batch = self.at.epoch + 1, 0
        row = {"step": self.at.step, "epoch": self.at.epoch, "seconds": self.at.seconds}
        mean = self._loss_so_far() / float(self.loss_count)
        if not math.isfinite(mean):
            raise self._not_finite("The mean training loss", self.at.step, "in this epoch")
        self.loss_sum = self.loss_count = 0.0
        lr = self.optimizer.param_groups[0]["lr"]
        self.folder.log({**row, "split": "train", "loss": mean, "lr": lr})
        monitor = self.plan.monitor
        averaged = self.average.in_place() if self.average is not None else nullcontext()
        with averaged, self.phases("evaluation"):
            with one_view(self.model):
                logits, targets = self.logits(validation.store), validation.targets.cpu()
            weights = None if validation.weights is None else validation.weights.cpu()
            # One process judges for all: a last bit that differs must not part their ways.
            scores = self.processes.first_does(lambda: self.evaluate(logits, targets, weights))
            if not math.isfinite(scores[monitor]):
                raise self._not_finite(f"Validation {monitor}", self.at.step, "at the epoch's end")
            is_best = not self.at.best or scores[monitor] < self.at.best[monitor]
            if is_best:
                self._keep_weights()
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

    def _keep_weights(self) -> None:
        """Keep the present weights as the best, in the place of those before."""
        state = self.model.state_dict()
        if not self.best_weights:
            self.best_weights = {name: torch.empty_like(value) for name, value in state.items()}
        for name, value in state.items():
            self.best_weights[name].copy_(value)

    def logits(self, store: Store, index: Tensor | None = None) -> Tensor:
        """Return the model's logits (N, K) of these rows, which all processes share."""
        return logits_of(
            self.model,
            store,
            self.engine.device,
            index,
            rows=self.step.cut.looks,
            processes=self.processes,
            may_halve=not self.engine.is_sharded,
        )

    @property
    def description(self) -> str:
        """What trains, for people."""
        count, cut = self.processes.count, self.step.cut
        return ", ".join(
            [
                f"{count} process{'es' if count > 1 else ''} on {self.engine.device.type}",
                self.engine.precision,
                f"{self.plan.batch_size} rows a step"
                + (f" in pieces of {cut.size}" if cut.size * count < self.plan.batch_size else ""),
            ]
        )

    def _set_lr(self, fraction: float) -> None:
        factor = self.schedule(fraction)
        if factor == self._factor:
            return
        self._factor = factor
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor

    def _loss_so_far(self) -> float:
        """Return the epoch's summed loss, of all processes."""
        loss = float(self.loss_sum)
        return self.processes.total([loss])[0] if self.processes.count > 1 else loss

    def _not_finite(self, what: str, step: int, where: str) -> RunError:
        kept = sorted(self.folder.checkpoints.glob("step-*"))
        state = f"The checkpoint {kept[-1]} is kept." if kept else "There is no checkpoint yet."
        return RunError(
            f"{what} is not finite at step {step} (epoch {self.at.epoch + 1}): {where}. "
            f"{state} A lower lr or clip_norm=1.0 usually helps, in a new run_dir."
        )

    def _say_retry(self, cut: Cut, error: str) -> None:
        """Write down that memory ran out; every step after this one is cut this way."""
        how = ", activations computed again in backward" if cut.checkpointing else ""
        warnings.warn(
            f"Memory ran out in step {self.at.step + 1}; it is repeated in pieces of {cut.size} "
            f"rows{how}. No step is lost.",
            stacklevel=2,
        )
        memory = self.folder.facts.get("memory", {})
        self.folder.update(memory={**memory, "cut": asdict(cut), "error": error[:200]})

    def _has_to_save(self, stop: StopSignal) -> tuple[bool, signal.Signals | None]:
        """Tell whether a checkpoint is due, and what stops training; all processes agree."""
        stopped_by = stop.received
        due = time.monotonic() - self._last_checkpoint > self._checkpoint_every
        if self.processes.count > 1:
            asked = [stopped_by is number for number in STOPS]
            *heard, wanted = self.processes.total([*asked, due and self.processes.is_first])
            due = wanted > 0
            stopped_by = next((s for s, n in zip(STOPS, heard, strict=True) if n), None)
        return due or stopped_by is not None, stopped_by

    def _checkpoint(self) -> Path:
        for name, parameter in self.model.named_parameters():
            if not whole(parameter.isfinite().all()):
                raise self._not_finite(f"The parameter {name}", self.at.step, "after the step")
        started = time.monotonic()
        self.at.loss_sum, self.at.loss_count = self._loss_so_far(), float(self.loss_count)
        path = save(self)
        written = time.monotonic()
        # A large model must not spend its time on saving: a twentieth of it at the most.
        self._checkpoint_every = max(CHECKPOINT_EVERY, 20 * (written - started))
        self._last_checkpoint = written
        return path
