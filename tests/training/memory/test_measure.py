from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mlexpert.training.memory import measure
from mlexpert.training.memory.allocator import give_back_at_once, is_steerable, keep_freed

CPU = torch.device("cpu")
MIB = 2**20


def take(mib: int) -> int:
    held = torch.ones(mib * MIB, dtype=torch.uint8)
    time.sleep(0.05)  # for the samples
    return int(held[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_is_that_of_the_call_alone() -> None:
    take(200)  # an earlier peak
    held = torch.ones(50 * MIB, dtype=torch.uint8)  # taken before
    result, peak = measure.measure_peak(lambda: take(100), CPU)
    assert result == held[0] == 1
    assert peak == pytest.approx(100 * MIB, abs=4 * MIB)


def in_a_process_of_its_own(call: str) -> str:
    """Print a call of this file there: what other tests left in the heap would be used first."""
    return subprocess.run(
        [sys.executable, "-c", f"from {__name__} import *; print({call})"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def sampled_peak() -> int:
    measure.PROC = Path("nowhere")
    result, peak = measure.measure_peak(lambda: take(100), CPU)
    assert result == 1
    return peak


def test_without_a_high_water_mark_it_is_sampled() -> None:
    peak = int(in_a_process_of_its_own("sampled_peak()"))
    assert peak == pytest.approx(100 * MIB, abs=8 * MIB)


def test_the_sampling_ends_with_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PROC", tmp_path / "nowhere")
    with pytest.raises(KeyError):
        measure.measure_peak(lambda: {}[1], CPU)


def churn() -> None:
    held = [torch.ones(2 * MIB, dtype=torch.uint8) for _ in range(40)]
    kept = held[::2]
    del held
    kept += [torch.ones(3 * MIB, dtype=torch.uint8) for _ in range(10)]


def peaks_of_churning() -> tuple[int, int]:
    """Giving memory back at once, and keeping it."""
    give_back_at_once()
    _, tight = measure.measure_peak(churn, CPU)
    keep_freed()
    _, loose = measure.measure_peak(churn, CPU)
    return tight, loose


@pytest.mark.skipif(not is_steerable(), reason="not glibc")
def test_freed_memory_goes_back_at_once() -> None:
    tight, loose = map(int, in_a_process_of_its_own("*peaks_of_churning()").split())
    assert tight == pytest.approx(80 * MIB, rel=0.06)
    assert loose >= 0.95 * tight


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_is_measured_by_what_torch_reserves() -> None:
    device = torch.device("cuda")
    _, peak = measure.measure_peak(
        lambda: torch.ones(100 * MIB, device=device).sum().item(), device
    )
    assert 400 * MIB <= peak < 480 * MIB
    assert measure.available_on(device) > peak
