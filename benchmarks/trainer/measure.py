"""One measurement in a process of its own; `run.py` starts it.

    python measure.py WHAT OUTPUT    # WHAT is JSON, OUTPUT is where the figures go

`loops` trains every rival in turn, several rounds, in one process. `cold` starts one rival from
nothing. What the rivals print goes where it always goes; the figures go to OUTPUT.
"""

from __future__ import annotations

import gc
import importlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def main() -> None:
    what, output = json.loads(sys.argv[1]), Path(sys.argv[2])
    kind = what.pop("kind")
    with tempfile.TemporaryDirectory() as folder:
        found = (loops if kind == "loops" else cold)(**what, folder=Path(folder))
    output.write_text(json.dumps(found))


def loops(
    *, name: str, threads: int, rounds: int, size: dict[str, int], folder: Path
) -> dict[str, Any]:
    """Return CPU and wall seconds of every rival's training, a number per round."""
    import torch
    from problems import problem
    from rivals import RIVALS

    torch.set_num_threads(threads)
    whole = problem(name, **size)
    short = problem(name, rows=2 * whole.batch_size, epochs=1)
    for rival, loop in RIVALS.items():  # imports, allocators and thread pools cost nobody later
        loop.prepare(short, folder / f"warm {rival}")()
    # What all these packages have allocated must not make the collector slower for any of them.
    gc.collect()
    gc.freeze()
    times: dict[str, list[tuple[float, float]]] = {rival: [] for rival in RIVALS}
    for number in range(rounds):
        # There and back again: a machine that slows down in the course of a round favours nobody.
        for rival in list(RIVALS) if number % 2 == 0 else list(reversed(RIVALS)):
            training = RIVALS[rival].prepare(whole, folder / f"{rival} {number}")
            times[rival].append(timed(training))
    return {
        "steps": whole.steps,
        "cpu_seconds": {rival: [round(cpu, 4) for cpu, _ in row] for rival, row in times.items()},
        "wall_seconds": {
            rival: [round(wall, 4) for _, wall in row] for rival, row in times.items()
        },
        "same_losses": same_losses(name, size, folder),
    }


def timed(training: Callable[[], object]) -> tuple[float, float]:
    """Return the CPU and the wall seconds of a call; both wait for the GPU where there is one."""
    gc.collect()
    synchronize()
    cpu, wall = time.process_time(), time.perf_counter()
    training()
    synchronize()
    return time.process_time() - cpu, time.perf_counter() - wall


def synchronize() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def same_losses(name: str, size: dict[str, int], folder: Path) -> dict[str, Any]:
    """Compare every loss of our loop with the hand-written one's."""
    import torch.nn.functional as F
    from ours import Recording, prepare
    from problems import problem
    from rivals import hand_written

    whole, method, expected = problem(name, **size), Recording(), []

    def recorded(logits: Tensor, targets: Tensor) -> Tensor:
        # Trained by the mean, and recorded as ours is: the two add the rows up in another order,
        # which moves the last bit of the figure but of no gradient.
        total = F.cross_entropy(logits.detach(), targets, reduction="sum")
        expected.append((total / len(targets)).item())
        return F.cross_entropy(logits, targets)

    prepare(whole, folder / "recorded", method)()
    hand_written(whole, folder, recorded)()
    pairs = list(zip(method.losses, expected, strict=True))
    return {"steps": len(pairs), "equal": sum(a == b for a, b in pairs)}


def cold(*, name: str, threads: int, rival: str, size: dict[str, int], folder: Path) -> dict:
    """Return what the import, the first step and the memory of one rival cost."""
    started = time.process_time()
    from rivals import RIVALS

    for module in RIVALS[rival].modules:
        importlib.import_module(module)
    imported = time.process_time() - started
    import torch
    from problems import problem

    torch.set_num_threads(threads)
    one_step, whole = problem(name, rows=16, epochs=1), problem(name, **size)
    whole = replace(whole, epochs=min(2, whole.epochs))  # the peak is reached by then

    def first() -> None:
        RIVALS[rival].prepare(one_step, folder / "first")()

    cpu, wall = timed(first)
    RIVALS[rival].prepare(whole, folder / "whole")()
    on_gpu = torch.cuda.is_available()
    return {
        "import_cpu_seconds": round(imported, 3),
        "first_step_cpu_seconds": round(cpu, 4),
        "first_step_wall_seconds": round(wall, 4),
        "peak_rss_mib": round(peak_rss() / 2**20, 1),
        "peak_gpu_mib": round(torch.cuda.max_memory_allocated() / 2**20, 1) if on_gpu else None,
    }


def peak_rss() -> int:
    """Return the most bytes that this process held; Linux counts a parent's in `ru_maxrss`."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


if __name__ == "__main__":
    main()
