"""Where the time of training goes: a table of phases, the dearest operators and a trace.

The loop always says which phase of a step it is in. Without a profile that costs a fraction of a
microsecond. With one, three windows follow each other: a few steps to warm up, then steps that are
timed by the clock alone, then steps under torch.profiler. The profiler slows what it watches, so
the table is taken from the steps without it.
"""

from __future__ import annotations

import gzip
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from mlexpert.training.tracking import disk_error, write_json

PHASES = ("data", "forward", "backward", "optimizer")
WARM_UP, TIMED, TRACED = 5, 20, 5
"""Steps of the three windows; a training too short for them gets shorter ones."""
NUM_OPERATORS = 10
LARGE = 32 << 20
"""Bytes from which a trace is compressed; viewers read both."""
_NOTHING = nullcontext()

Item = TypeVar("Item")


class Phases:
    """Is told where in a step the loop stands, and does nothing with it."""

    def __call__(self, phase: str) -> AbstractContextManager[None]:
        """Return the context of a phase: one of `PHASES`, or another; phases do not nest."""
        return _NOTHING

    def fetched(self, batches: Iterable[Item]) -> Iterable[Item]:
        """Return the batches, the wait for each of them being the phase "data"."""
        return batches

    def step(self) -> None:
        """Take note that an optimiser step is complete."""

    def close(self) -> None:
        """Write what there is to write; belongs into a `finally`, and may be called twice."""


OFF = Phases()


class Profile(Phases):
    """Times the phases of some steps and traces a few more, into `profile/` of a run folder.

    `profile.json` holds the table, whose shares add up to one with "other" as the rest of the wall
    time, and the operators that took most time themselves. `trace.json` (`trace.json.gz` where it
    is large) opens in a trace viewer. On a GPU each phase waits for the device at both ends, so
    work that would overlap is told apart, and a step takes a little longer than without.

    Args:
        folder: The run folder.
        device: Where the model is.
        num_steps: Optimiser steps that training has left, or fewer if it ends early.
    """

    def __init__(self, folder: Path, device: torch.device, num_steps: int) -> None:
        self.folder, self.device = folder / "profile", device
        self._warm_up, self._timed, self._to_trace = _windows(num_steps)
        self._skipped = self._steps = self._traced = 0
        self._wall = 0.0
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._this_step: dict[str, float] = {}
        self._since: float | None = None
        self._tracer: profile | None = None
        self._is_closed = False

    def __call__(self, phase: str) -> AbstractContextManager[None]:
        """Return a context that times the phase, or labels it in the trace."""
        if self._is_closed:
            return _NOTHING
        return self._clock(phase) if self._tracer is None else record_function(phase)

    def fetched(self, batches: Iterable[Item]) -> Iterator[Item]:
        """Yield the batches, the wait for each of them being the phase "data"."""
        waiting = iter(batches)
        while True:
            with self("data"):
                try:
                    batch = next(waiting)
                except StopIteration:
                    return
            yield batch

    def step(self) -> None:
        """Take the step that is complete into the window that is open, or open the next one."""
        if self._is_closed:
            return
        if self._tracer is not None:
            self._traced += 1
            if self._traced == self._to_trace:
                self.close()
            return
        self._take()
        if not self._skipped and self._steps == self._warm_up:
            self._skipped, self._steps, self._wall = self._warm_up, 0, 0.0
            self._seconds = dict.fromkeys(PHASES, 0.0)
        elif self._steps == self._timed and self._to_trace:
            self._tracer = _tracer(self.device)
            self._tracer.start()
        elif self._steps == self._timed:
            self.close()

    def close(self) -> None:
        """Write the table and the trace of the steps so far; nothing where none is complete.

        Raises:
            RunError: If the disk is full or the folder cannot be written.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._tracer is not None:
            self._tracer.stop()
        if not self._steps:
            return
        try:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            write_json(self.folder / "profile.json", self._record())
            if self._tracer is not None:
                _export(self._tracer, self.folder)
        except OSError as error:
            raise disk_error(self.folder, error) from error

    @contextmanager
    def _clock(self, phase: str) -> Iterator[None]:
        start = self._now()
        if self._since is None:
            self._since = start
        try:
            yield
        finally:
            spent = self._now() - start
            self._this_step[phase] = self._this_step.get(phase, 0.0) + spent

    def _now(self) -> float:
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        return time.perf_counter()

    def _take(self) -> None:
        now = self._now()
        self._steps += 1
        self._wall += now - (now if self._since is None else self._since)
        self._since = now
        for phase, seconds in self._this_step.items():
            self._seconds[phase] = self._seconds.get(phase, 0.0) + seconds
        self._this_step = {}

    def _record(self) -> dict[str, Any]:
        other = max(0.0, self._wall - sum(self._seconds.values()))
        on_gpu = self.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name(self.device) if on_gpu else self.device.type,
            "threads": torch.get_num_threads(),
            "skipped_steps": self._skipped,
            "num_steps": self._steps,
            "seconds": self._wall,
            "phases": [
                {
                    "phase": phase,
                    "seconds": seconds,
                    "share": seconds / self._wall if self._wall else 0.0,
                    "ms_per_step": 1e3 * seconds / self._steps,
                }
                for phase, seconds in {**self._seconds, "other": other}.items()
            ],
            "traced_steps": self._traced,
            "operators": _operators(self._tracer, self._traced, on_gpu) if self._tracer else [],
        }


def _windows(num_steps: int) -> tuple[int, int, int]:
    """Return steps to warm up, to time and to trace; of a single step, the clock has it."""
    warm_up = min(WARM_UP, num_steps // 6)
    traced = min(TRACED, max(num_steps // 6, int(num_steps > 1)))
    return warm_up, min(TIMED, max(1, num_steps - warm_up - traced)), traced


def _tracer(device: torch.device) -> profile:
    # The library below torch.profiler prints to stderr, across a progress bar, unless told not to.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    return profile(activities=activities)


def _operators(tracer: profile, num_steps: int, on_gpu: bool) -> list[dict[str, Any]]:
    """Return the operators that took most time themselves, without what they called."""
    rows = [
        {
            "operator": event.key,
            "calls": event.count,
            "self_cpu_ms_per_step": event.self_cpu_time_total / 1e3 / max(1, num_steps),
            "self_device_ms_per_step": event.self_device_time_total / 1e3 / max(1, num_steps),
        }
        for event in tracer.key_averages()
        # Kernels are listed again beside the operators that started them, and so are our labels.
        if event.device_type.name == "CPU" and not event.is_user_annotation
    ]
    dearest = "self_device_ms_per_step" if on_gpu else "self_cpu_ms_per_step"
    return sorted(rows, key=lambda row: -row[dearest])[:NUM_OPERATORS]


def _export(tracer: profile, folder: Path) -> None:
    beside = folder / ".writing-trace.json"
    tracer.export_chrome_trace(str(beside))
    if beside.stat().st_size < LARGE:
        beside.replace(folder / "trace.json")
        return
    with beside.open("rb") as plain, gzip.open(folder / "trace.json.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    beside.unlink()
