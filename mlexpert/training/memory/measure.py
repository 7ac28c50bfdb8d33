"""The memory that one call really took, beyond what was taken before."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil
import torch

from mlexpert.data.memory import available_bytes
from mlexpert.training.memory.allocator import trim

T = TypeVar("T")

PROC = Path("/proc/self")
COMPILED = 32 * 2**20
"""Bytes left to oneDNN, which compiles and keeps code for every new shape."""
SAMPLE_EVERY = 0.001
"""Seconds between looks at a process whose kernel keeps no high-water mark."""


def available_on(device: torch.device) -> int:
    """Return the bytes that this process can still take on a device.

    On a GPU: what is free, and what torch has reserved and not given out, up to the fraction that
    torch was allowed.
    """
    if device.type != "cuda":
        return max(0, available_bytes() - COMPILED)
    free, total = torch.cuda.mem_get_info(device)
    given_out = torch.cuda.memory_allocated(device)
    allowed = int(total * torch.cuda.get_per_process_memory_fraction(device))
    return min(free + torch.cuda.memory_reserved(device) - given_out, allowed - given_out)


def measure_peak(run: Callable[[], T], device: torch.device) -> tuple[T, int]:
    """Call a function and measure the most memory that it took at any moment.

    Args:
        run: What to measure.
        device: A GPU counts what torch reserved there; anything else the memory of this process,
            without pages of files, which the kernel can drop.

    Returns:
        What the function returned, and bytes beyond what was taken before.
    """
    return _on_gpu(run, device) if device.type == "cuda" else _on_cpu(run)


def _on_gpu(run: Callable[[], T], device: torch.device) -> tuple[T, int]:
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()  # what is reserved is then, but for splinters, what is given out
    before = torch.cuda.memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    result = run()
    torch.cuda.synchronize(device)
    return result, max(0, torch.cuda.max_memory_reserved(device) - before)


def _on_cpu(run: Callable[[], T]) -> tuple[T, int]:
    trim()  # or what was freed before would be taken again, unseen
    before = _status()
    try:
        (PROC / "clear_refs").write_text("5")  # proc(5): resets the high-water mark
    except OSError:
        return _sampled(run)
    result = run()
    after = _status()
    files = max(0, after.get("RssFile", 0) - before.get("RssFile", 0))
    return result, max(0, after["VmHWM"] - before["VmRSS"] - files)


def _status() -> dict[str, int]:
    try:
        found = re.findall(r"^(\w+):\s+(\d+) kB", (PROC / "status").read_text(), re.MULTILINE)
    except OSError:
        return {}
    return {name: int(kib) * 1024 for name, kib in found}


def _sampled(run: Callable[[], T]) -> tuple[T, int]:
    process, done = psutil.Process(), threading.Event()
    before = peak = _anonymous(process)

    def look() -> None:
        nonlocal peak
        while not done.wait(SAMPLE_EVERY):
            peak = max(peak, _anonymous(process))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        result = run()
    finally:
        done.set()
        watcher.join()
    return result, max(0, peak - before)


def _anonymous(process: psutil.Process) -> int:
    """Resident bytes, where the system tells them apart without pages of files."""
    info = process.memory_info()
    return int(info.rss - getattr(info, "shared", 0))
