"""Ctrl-C and SIGTERM while training: finish the step, keep a checkpoint, say how to go on."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

STOPS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """Training was stopped from outside; a checkpoint is kept and the message says how to go on."""


class StopSignal:
    """While entered, remembers a first SIGINT or SIGTERM; a second Ctrl-C raises at once.

    A second SIGTERM does not: whoever manages processes may well send two.

    Signal handlers belong to the main thread: in any other, nothing is installed and Ctrl-C acts as
    ever.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in STOPS:
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            # A process that lost the others ignores SIGTERM until it has said so.
            if signal.getsignal(number) == self._remember:
                signal.signal(number, handler)  # type: ignore[arg-type]

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
