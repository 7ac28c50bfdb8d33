"""Seconds and memory of a process."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch


class Clock:
    """Wall and CPU seconds since the last look; CPU seconds of workers count once they ended."""

    def __init__(self) -> None:
        self.last = self._now()

    def lap(self) -> dict[str, float]:
        """Return the seconds since the last lap, and begin the next."""
        before, self.last = self.last, self._now()
        names = ("cpu_seconds", "wall_seconds")
        return {name: round(b - a, 3) for name, a, b in zip(names, before, self.last, strict=True)}

    @staticmethod
    def _now() -> tuple[float, float]:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return sum(os.times()[:4]), time.perf_counter()


def peak_bytes() -> int:
    """Return the most memory that this process held; Linux counts a parent's in `ru_maxrss`."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
