"""When a checkpoint is due: every few seconds of training, and before it is stopped."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mlexpert.training.interrupt import STOPS, StopSignal
from mlexpert.training.processes import Processes

CHECKPOINT_EVERY = 15.0
"""Seconds of training that a killed process loses at the most."""


class CheckpointClock:
    """Tells when to save; the first process's clock is that of all.

    Args:
        processes: That train together.
    """

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self._every, self._saved = CHECKPOINT_EVERY, time.monotonic()

    def is_due(self, stop: StopSignal) -> tuple[bool, signal.Signals | None]:
        """Tell whether a checkpoint is due, and what stops training; all processes agree."""
        stopped_by = stop.received
        due = time.monotonic() - self._saved > self._every
        if self.processes.count > 1:
            asked = [stopped_by is number for number in STOPS]
            *heard, wanted = self.processes.total([*asked, due and self.processes.is_first])
            due = wanted > 0
            stopped_by = next((s for s, n in zip(STOPS, heard, strict=True) if n), None)
        return due or stopped_by is not None, stopped_by

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Measure how long it takes to save, and begin to count anew."""
        started = time.monotonic()
        yield
        self._saved = time.monotonic()
        # A large model must not spend its time on saving: a twentieth of it at the most.
        self._every = max(CHECKPOINT_EVERY, 20 * (self._saved - started))
