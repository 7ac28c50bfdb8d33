"""The one training loop, readable from top to bottom. Nothing else moves the weights."""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.image_views import one_view
from mlexpert.data.batches import Store, batches, cut, row_lengths
from mlexpert.data.token_budget import num_batches
from mlexpert.errors import InputError
from mlexpert.training.average import WeightAverage
from mlexpert.training.checkpoint_clock import CheckpointClock
from mlexpert.training.evaluation import LARGEST, logits_of
from mlexpert.training.freezing import Frozen
from mlexpert.training.gradient_health import GradientHealth
from mlexpert.training.interrupt import StopSignal
from mlexpert.training.kept import KeptWeights
from mlexpert.training.messages import description, not_finite, say_over, say_retry, stopped
from mlexpert.training.method import Batch, Method
from mlexpert.training.on_device import OnDevice
from mlexpert.training.phases import OFF, Phases, Profile
from mlexpert.training.plan import Data, Plan, Position, Stretch, epoch_batches
from mlexpert.training.precision import Engine
from mlexpert.training.progress import Bar
from mlexpert.training.resuming import go_on, save
from mlexpert.training.settling import settle
from mlexpert.training.sharding import shard, whole
from mlexpert.training.step import Cut, NotFinite, Step
from mlexpert.training.tracking import HEALTH, RunFolder


class Trainer:
    """Trains a model on a stream of tasks, from the start or from the newest checkpoint.

    An ordinary fit is a stream of one task, a second stage a task on the same rows.

    Args:
        model: What is trained, in place.
        method: Its loss and hooks.
        stream: The tasks, in their order; each has an optimiser of its own.
        plan: How to cut batches, and which epoch's weights a task leaves behind.
        engine: Device, precision and processes.
        folder: Where checkpoints and metrics go.
        after_task: Called after each task with its number, and before the first with -1.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        stream: Sequence[Stretch],
        plan: Plan,
        engine: Engine,
        folder: RunFolder,
        *,
        after_task: Callable[[Trainer, int], None] | None = None,
    ) -> None:
        optimizers = [stretch.stage.optimizer for stretch in stream]
        self.whole = copy.deepcopy(model) if engine.is_sharded else None
        if engine.is_sharded:
            shard(model, optimizers)
        self.model, self.method = engine.place(model), engine.place(method)
        self.stream, self.plan, self.engine, self.folder = stream, plan, engine, folder
        self.processes = engine.processes
        self.after_task = after_task or (lambda trainer, number: None)
        self.peaks = [[group["lr"] for group in one.param_groups] for one in optimizers]
        self.steps = [self._steps_of(stretch) for stretch in stream]
        self.at = Position()
        self.rows = OnDevice(engine.device)
        self.kept = KeptWeights(self.model)
        self.average: WeightAverage | None = None
        self.phases: Phases = OFF
        self.arithmetic: dict[str, Any] = {}
        self.demand: tuple[int, ...] = ()  # what the cut was made for, of a stream
        # A number is a sign of short memory: no more rows are looked at together.
        self.cut = (
            Cut(plan.microbatch, looks=min(LARGEST, plan.microbatch))
            if isinstance(plan.microbatch, int)
            else Cut(sys.maxsize)
        )
        # Reading a number back waits for a GPU, so there the loss is looked at only now and then.
        self.look_every = 1 if engine.device.type == "cpu" else 50
        self.loss_sum: Tensor | float = 0.0
        self.loss_count: Tensor | float = 0.0
        self.clock = CheckpointClock(self.processes)
        self._factor: float | None = None

    @property
    def stretch(self) -> Stretch:
        """The task under way."""
        return self.stream[self.at.task]

    def run(self) -> Position:
        """Train on all tasks, leave the weights that are kept in place, and return the end.

        Raises:
            RunError: If a loss is not finite, memory runs out, or the disk is full.
            Interrupted: On Ctrl-C or SIGTERM, after the step under way, with a checkpoint kept.
        """
        shown = self.plan.show_progress and self.processes.is_first
        total = sum(self.steps)
        with StopSignal() as stop:
            if not go_on(self):
                self.begin(Position())
                self.after_task(self, -1)
                self._settle()
            if self.plan.compile:
                self.model.compile()
            if self.plan.profile and self.processes.is_first:
                self.phases = Profile(self.folder.path, self.engine.device, total - self._done())
            try:
                about = description(self.engine, self.plan, self.cut)
                with Bar(total, self._done(), about, shown=shown) as bar:
                    self._train(stop, bar)
                    while self.at.task + 1 < len(self.stream):
                        self.begin(self.at.next_task())
                        self._settle()
                        self._train(stop, bar)
            finally:
                self.phases.close()
        self.rows.clear()
        # As a loaded model lies: the same kernels then give the same predictions, to the last bit.
        self.model.to(memory_format=torch.contiguous_format)
        if self.whole is not None:
            state = self.model.state_dict()
            self.whole.load_state_dict({name: whole(value).cpu() for name, value in state.items()})
        return self.at

    def begin(self, at: Position) -> None:
        """Make ready for the task of a position, before a step of it or its checkpoint."""
        self.at = at
        self.rows.hold(self.stretch.train, self.stretch.validation)
        self.method.begin_task(self.model, self.stretch.task)
        self.engine.place(self.method)
        self.frozen = Frozen(self.model, self.stretch.stage)
        self.average = WeightAverage(self.model, self.plan.ema) if self.plan.ema else None
        self._factor = None

    def _settle(self) -> None:
        settle(self, self.rows[self.stretch.train])
        self._checkpoint()  # what was decided holds, however early the run is killed

    def _train(self, stop: StopSignal, bar: Bar) -> None:
        """Train on the task under way to its end, and leave the weights that are kept in place."""
        stage, task = self.stretch.stage, self.stretch.task
        self.step = Step(
            self.model,
            self.method,
            stage.optimizer,
            self.engine,
            self.cut,
            clip_norm=self.plan.clip_norm,
            seed=self.plan.seed,
            on_retry=lambda cut, error: say_retry(self.at.step + 1, cut, error, self.folder),
        )
        self.step.phases = self.phases
        self.health = GradientHealth(self.model)
        self._ahead = self._done() - self.at.step
        while self.at.epoch < self.at.begun + stage.epochs and not self.at.done:
            self._epoch(self.rows[self.stretch.train], stop, bar)
            self._end_epoch(self.rows[self.stretch.validation], bar)
        train, validation = self.rows[self.stretch.train], self.rows[self.stretch.validation]
        if stage.epochs:
            self.kept.put_back()
        self.model.eval()
        started = time.monotonic()
        rows = partial(self._rows_at_end, train, stop, bar)
        self.method.end_task(self.model, replace(task, batches=rows))
        self.at.seconds += time.monotonic() - started
        if not stage.epochs:  # what the method did at the end is all that was learned
            self._score(validation)
            self.kept.put_back()
        self.frozen.thaw()
        self.model.zero_grad()
        later = self.stream[self.at.task + 1 :]
        if not any(stretch.stage.optimizer is stage.optimizer for stretch in later):
            stage.optimizer.state.clear()  # what comes next takes memory, the model's file as well
        self.after_task(self, task.number)

    def _rows_of(self, train: Data) -> Iterator[Batch]:
        """Yield the rows of a task as they are, in their order."""
        cuts = cut(torch.arange(len(train.targets)), self.plan.batch_size)
        for inputs, targets, index in batches(train.store, train.targets, cuts):
            yield Batch(inputs.to(self.engine.device), targets, index, train.weights_of(index))

    def _rows_at_end(self, train: Data, stop: StopSignal, bar: Bar) -> Iterator[Batch]:
        """Yield the rows of a task as they are, and show how far it is.

        Where there are no steps, the end is all there is to do, and a signal stops it: the
        checkpoint from before it is as good as any.
        """
        seen = 0
        for batch in self._rows_of(train):
            if stop.received and not self.stretch.stage.epochs and self.processes.count == 1:
                kept = max(self.folder.checkpoints.glob("step-*"))
                raise stopped(stop.received, self.at.step, 0, kept, self.folder)
            seen += len(batch)
            bar.say(self._done(), f"{seen:,} of {len(train.targets):,} rows")
            yield batch

    def _epoch(self, train: Data, stop: StopSignal, bar: Bar) -> None:
        steps = self.steps[self.at.task]
        self.model.train()
        self.frozen.keep_still()
        started = time.monotonic()
        stage, done = self.stretch.stage, self.at.epoch - self.at.begun
        cuts = epoch_batches(
            train, stage, self.plan, epoch=self.at.epoch, progress=done / stage.epochs
        )
        left = cuts[self.at.batch :]
        rows = self.phases.fetched(batches(train.store, train.targets, left))
        for inputs, targets, index in rows:
            self._set_lr(self.at.moved / steps)
            with self.phases("data"):
                weights = train.weights_of(index)
                batch = Batch(inputs.to(self.engine.device), targets, index, weights)
                batch = self.method.draw(self.model, batch)
            self._move(batch)
            bar.show(self.at.step + self._ahead)
            is_due, stopped_by = self.clock.is_due(stop)
            if is_due:
                now = time.monotonic()
                self.at.seconds, started = self.at.seconds + now - started, now
                with self.phases("checkpoint"):
                    kept = self._checkpoint()
                if stopped_by:
                    total = sum(self.steps) - self._ahead
                    raise stopped(stopped_by, self.at.step, total, kept, self.folder)
        self.at.seconds += time.monotonic() - started

    def _steps_of(self, stretch: Stretch) -> int:
        """Return the steps that a task takes if it is not ended early."""
        lengths, tokens = row_lengths(stretch.train.store), self.plan.batch_tokens
        if lengths is not None and tokens is not None:
            return stretch.stage.epochs * num_batches(lengths, tokens)
        rows = stretch.stage.rows or len(stretch.train.targets)
        cuts = cut(torch.empty(rows), self.plan.batch_size)
        if self.engine.is_sharded and min(map(len, cuts)) < self.processes.count:
            raise InputError(
                f"A last batch of {min(map(len, cuts))} rows is not enough for each of "
                f"{self.processes.count} processes of a sharded model; change batch_size."
            )
        return stretch.stage.epochs * len(cuts)

    def _done(self) -> int:
        """Return the steps done, had no earlier task ended early."""
        before, here = self.steps[: self.at.task], self.steps[self.at.task]
        epochs = self.at.epoch - self.at.begun
        return sum(before) + epochs * here // max(1, self.stretch.stage.epochs) + self.at.batch

    def _move(self, batch: Batch) -> None:
        """Make one step, and all that follows a step."""
        # Once an epoch: a look at every layer costs as much as a step.
        health = self.health if self.at.batch == 0 and not self.engine.is_sharded else None
        look = (self.at.step + 1) % self.look_every == 0
        try:
            moved, loss, count = self.step(batch, self.at.step + 1, look=look, health=health)
        except NotFinite as found:
            step, epoch = self.at.step + 1, self.at.epoch + 1
            raise not_finite("The loss", step, epoch, str(found), self.folder) from None
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

    def _end_epoch(self, validation: Data, bar: Bar) -> None:
        self.at.epoch, self.at.batch = self.at.epoch + 1, 0
        mean = self._loss_so_far() / float(self.loss_count)
        if not math.isfinite(mean):
            what, at = "The mean training loss", (self.at.step, self.at.epoch)
            raise not_finite(what, *at, "in this epoch", self.folder)
        self.loss_sum = self.loss_count = 0.0
        lr = self.stretch.stage.optimizer.param_groups[0]["lr"]
        self.folder.log({**self._where(), "split": "train", "loss": mean, "lr": lr})
        scores = self._score(validation)
        end = sum(self.steps[: self.at.task + 1])
        bar.say(
            end if self.at.done else self.at.step + self._ahead,
            f"epoch {self.at.epoch}  {self.plan.monitor} {scores[self.plan.monitor]:.4f}",
        )

    def _score(self, validation: Data) -> dict[str, float]:
        """Score validation, write it down, and keep the weights where they are the best so far."""
        monitor = self.plan.monitor
        averaged = self.average.in_place() if self.average is not None else nullcontext()
        with averaged, self.phases("evaluation"):
            scored = self._judge(validation) if self.stretch.evaluate is not None else {}
            found = self.method.examine(self.model.eval(), self._rows_of(validation))
            # One process judges for all: a last bit that differs must not part their ways.
            scores, over = self.processes.first_does(lambda: (scored | found.scores, found.over))
            if not math.isfinite(scores[monitor]):
                what, at = f"Validation {monitor}", (self.at.step, self.at.epoch)
                raise not_finite(what, *at, "at the epoch's end", self.folder)
            is_best = not self.at.best or scores[monitor] < self.at.best[monitor]
            if is_best or self.plan.keep == "last":
                self.kept.take()
        self.folder.log({**self._where(), "split": "validation", **scores})
        self.at.last = {"epoch": self.at.epoch, **scores}
        if is_best:
            self.at.best, self.at.stale = dict(self.at.last), 0
        else:
            self.at.stale += 1
        if over:
            say_over(over, self.at.epoch, self.folder)
        self.at.done = bool(over) or 0 < self.plan.patience <= self.at.stale
        return scores

    def _judge(self, validation: Data) -> dict[str, float]:
        """Return the scores of the model's logits of validation."""
        evaluate = self.stretch.evaluate
        assert evaluate is not None, "asked for where there are logits"
        with one_view(self.model):
            logits, targets = self.logits(validation.store), validation.targets.cpu()
        weights = None if validation.weights is None else validation.weights.cpu()
        return self.processes.first_does(lambda: evaluate(logits, targets, weights))

    def _where(self) -> dict[str, float]:
        """Return where training stands, as rows of the record say it."""
        row = {"step": self.at.step, "epoch": self.at.epoch, "seconds": self.at.seconds}
        return row | ({"task": self.at.task} if len(self.stream) > 1 else {})

    def logits(self, store: Store, index: Tensor | None = None) -> Tensor:
        """Return the model's logits (N, K) of these rows, which all processes share."""
        return logits_of(
            self.model,
            store,
            self.engine.device,
            index,
            rows=self.cut.looks,
            processes=self.processes,
            may_halve=not self.engine.is_sharded,
        )

    def _set_lr(self, fraction: float) -> None:
        stage, peaks = self.stretch.stage, self.peaks[self.at.task]
        factor = stage.schedule(fraction)
        if factor == self._factor:
            return
        self._factor = factor
        for group, peak in zip(stage.optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * factor

    def _loss_so_far(self) -> float:
        """Return the epoch's summed loss, of all processes."""
        loss = float(self.loss_sum)
        return self.processes.total([loss])[0] if self.processes.count > 1 else loss

    def _checkpoint(self) -> Path:
        for name, parameter in self.model.named_parameters():
            if not whole(parameter.isfinite().all()):
                what, at = f"The parameter {name}", (self.at.step, self.at.epoch + 1)
                raise not_finite(what, *at, "after the step", self.folder)
        with self.clock.saving():
            self.at.loss_sum, self.at.loss_count = self._loss_so_far(), float(self.loss_count)
            return save(self)
