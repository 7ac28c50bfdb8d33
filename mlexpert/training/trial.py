"""A few steps of a model in several kinds of arithmetic: what each takes, and whether they agree.

It is the CPU time of one thread that is measured. Other programs on the machine move wall time, and
the CPU time of threads that wait for one another, by more than what is looked for here.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mlexpert.training.method import Batch, Method

SECONDS = 1.0
"""How long to time steps, all kinds together."""
FEWEST, MOST = 1, 15
"""Timed steps of each kind, after a first one that is not counted."""
SLOW = 2.0
"""Seconds of a first step from which on there is no other."""

_AUTOCAST: dict[str, dict[str, Any]] = {
    "fp32": {"enabled": False},
    "bf16": {"dtype": torch.bfloat16},
    "fp16": {"dtype": torch.float16},
}


@dataclass(frozen=True)
class Arithmetic:
    """How forward and backward pass are computed.

    Attributes:
        precision: "fp32", or that of products under autocast.
        channels_last: Whether the weights of convolutions lie channels-last in memory. Activations
            follow them, so `model.to(memory_format=torch.channels_last)` is all there is to do.
    """

    precision: str
    channels_last: bool = False

    def __str__(self) -> str:
        return f"{self.precision}{', channels_last' if self.channels_last else ''}"


@dataclass(frozen=True)
class Trial:
    """What one kind of arithmetic took and gave.

    Attributes:
        arithmetic: What was tried.
        seconds: Median CPU time of forward and backward pass on one thread.
        loss: Of the batch, before training.
        loss_change: Of that loss, relative to the first kind tried, the plainest.
        cosine: Of the whole gradient to the plainest one's.
        error: Why it failed; there are no figures then.
    """

    arithmetic: Arithmetic
    seconds: float = math.nan
    loss: float = math.nan
    loss_change: float = math.nan
    cosine: float = math.nan
    error: str = ""


@dataclass
class _Run:
    """The steps of one kind of arithmetic so far."""

    arithmetic: Arithmetic
    seconds: list[float] = field(default_factory=list)
    loss: float = math.nan
    cosine: float = math.nan
    error: str = ""

    def step(
        self, model: nn.Module, method: Method, batch: Batch, clock: Callable[[], float]
    ) -> list[Tensor | None]:
        """Run forward and backward pass of a copy, so that every step starts from the same.

        Returns:
            The gradient of every parameter; nothing where the step failed.
        """
        try:
            model, method = copy.deepcopy((model, method))
            if self.arithmetic.channels_last:
                model = model.to(memory_format=torch.channels_last)
            batch = method.draw(model, batch)
            started = clock()
            with torch.autocast("cpu", **_AUTOCAST[self.arithmetic.precision]):
                loss = method.loss(model, batch)
            mean = loss.total / loss.count
            mean.backward()
            self.seconds.append(clock() - started)
        except Exception as error:  # a model may refuse in whatever way
            self.error = f"{type(error).__name__}: {error}".partition("\n")[0]
            return []
        self.loss = mean.item()
        return [parameter.grad for parameter in model.parameters()]

    def trial(self, plainest: _Run) -> Trial:
        """Return what came out, beside the plainest arithmetic."""
        if self.error:
            return Trial(self.arithmetic, error=self.error)
        return Trial(
            self.arithmetic,
            seconds=statistics.median(self.seconds[1:] or self.seconds),
            loss=self.loss,
            loss_change=abs(self.loss - plainest.loss) / abs(plainest.loss or 1.0),
            cosine=self.cosine,
        )


def try_all(
    model: nn.Module,
    method: Method,
    batch: Batch,
    kinds: list[Arithmetic],
    clock: Callable[[], float] = time.thread_time,
) -> list[Trial]:
    """Run every kind by turns, on one thread and with the same random numbers.

    Copies are run: model, method and random numbers stay what they are, bit for bit.

    Args:
        model: On the CPU, in train mode.
        method: Its `draw` and `loss` are run.
        batch: A micro-batch, not yet drawn.
        kinds: What to try; the others are compared to the first, the plainest.
        clock: Returns the CPU seconds of this thread.
    """
    runs = [_Run(arithmetic) for arithmetic in kinds]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            state = torch.get_rng_state()

            def step(run: _Run) -> list[Tensor | None]:
                torch.set_rng_state(state)
                return run.step(model, method, batch, clock)

            plainest = step(runs[0])
            runs[0].cosine = 1.0
            for run in runs[1:]:
                run.cosine = _cosine(step(run), plainest)
            del plainest  # a whole model's worth of memory
            able = [run for run in runs if not run.error]
            first = [run.seconds[0] for run in able]
            if able[:1] == runs[:1] and first[0] < SLOW:
                for _ in range(min(max(int(SECONDS / sum(first)), FEWEST), MOST)):
                    for run in able:
                        step(run)
    finally:
        torch.set_num_threads(threads)
    return [run.trial(runs[0]) for run in runs]


def _cosine(ours: list[Tensor | None], theirs: list[Tensor | None]) -> float:
    """Return the cosine of two gradients, each taken as one long vector."""
    dot = own = other = 0.0
    for mine, its in zip(ours, theirs, strict=False):  # a step that failed has none
        if mine is not None and its is not None:
            dot += (mine * its).sum().item()
            own, other = own + mine.square().sum().item(), other + its.square().sum().item()
    return dot / math.sqrt(own * other) if own * other > 0 else math.nan
