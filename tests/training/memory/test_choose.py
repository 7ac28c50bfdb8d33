"""The search against synthetic memory: max(floor, a + c * rows)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from threading import Barrier, Thread

import pytest

from mlexpert.training.memory.choose import LEAP, MAX_PROBES, choose
from mlexpert.training.memory.sizing import Probe, Sizing

MIB = 2**20


@dataclass
class Machine:
    """Memory as it is, beside what is predicted; a CPU that is asked for too much kills."""

    available: int
    peak: Callable[[int], float]
    predict: Callable[[int], float | None]
    safe: bool
    seconds: Callable[[int], float] = lambda size: 1.0
    too_few: int = 0
    probed: list[int] = field(default_factory=list)

    def probe(self, size: int) -> Probe:
        self.probed.append(size)
        if size <= self.too_few:
            return Probe(size, fits=False, too_few_rows=True)
        peak = round(self.peak(size))
        if peak > self.available:
            assert self.safe, f"killed at {size} rows: {peak} of {self.available}"
            return Probe(size, fits=False)
        return Probe(size, fits=True, measured=peak, row_seconds=self.seconds(size))

    def choose(self, batch_size: int, **rest) -> Sizing:
        def predict(size: int) -> int | None:
            value = self.predict(size)
            return None if value is None else round(value)

        sizing = choose(
            batch_size,
            available=self.available,
            predict=predict,
            probe=self.probe,
            exceptions_are_safe=self.safe,
            **rest,
        )
        self.check(batch_size, sizing)
        return sizing

    def check(self, batch_size: int, sizing: Sizing) -> None:
        assert len(self.probed) <= MAX_PROBES
        assert len(set(self.probed)) == len(self.probed)
        even = {-(-batch_size // k) for k in range(1, batch_size + 1)}
        assert set(self.probed) <= even
        confirmed = [p.size for p in sizing.probes if p.fits]
        assert sizing.size in (confirmed or [0])
        if sizing.size:
            assert self.peak(sizing.size) <= 0.9 * self.available
            assert round(self.peak(sizing.size)) <= sizing.needed == sizing.measured
        json.dumps(sizing.record())


def piecewise(floor: float, a: float, c: float) -> Callable[[int], float]:
    return lambda rows: max(floor, a + c * rows)


def best(batch_size: int, machine: Machine, share: float = 0.9) -> int:
    """By brute force, the largest even size that fits."""
    sizes = {-(-batch_size // k) for k in range(1, batch_size + 1)}
    return max((s for s in sizes if machine.peak(s) <= share * machine.available), default=0)


@pytest.mark.parametrize("safe", [True, False])
def test_one_probe_is_enough_where_there_is_plenty(safe: bool) -> None:
    peak = piecewise(10 * MIB, MIB, 0.625 * MIB)
    sizing = Machine(20480 * MIB, peak, peak, safe).choose(64)
    assert sizing.size == 64 and [p.size for p in sizing.probes] == [64]
    assert sizing.why == "the whole batch of 64 fits: 41 MiB of 20,480 MiB"
    assert sizing.error_percent == 0


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("ratio", [0.95, 1.0, 1.06])
@pytest.mark.parametrize("floor", [0, 150, 450])
@pytest.mark.parametrize("available", [300, 560, 900, 1700])
def test_the_largest_that_fits_is_found(
    safe: bool, ratio: float, floor: int, available: int
) -> None:
    # Gradients and optimiser state are predicted rightly; what passes through is not.
    kept = 20 + floor * 2 / 3
    truth = piecewise(floor * MIB, kept * MIB, ratio * 3 * MIB)
    machine = Machine(available * MIB, truth, piecewise(floor * MIB, kept * MIB, 3 * MIB), safe)
    assert best(512, machine, 0.8) <= machine.choose(512).size <= best(512, machine)


@pytest.mark.parametrize("safe", [True, False])
def test_noise_costs_no_more_than_a_margin(safe: bool) -> None:
    generator = random.Random(0)
    for _ in range(200):
        noise = {size: 1 + generator.uniform(-0.04, 0.04) for size in range(1, 513)}
        floor, slope = generator.uniform(0, 200), generator.uniform(0.1, 5)
        ratio = generator.uniform(0.9, 1.5)
        predicted = piecewise(floor * MIB, floor * MIB / 2, slope * MIB)
        truth = piecewise(floor * MIB, floor * MIB / 2, ratio * slope * MIB)
        machine = Machine(
            int(generator.uniform(250, 2500) * MIB),
            lambda rows, truth=truth, noise=noise: truth(rows) * noise[rows],
            predicted,
            safe,
        )
        batch_size = generator.choice([64, 100, 512])
        sizing = machine.choose(batch_size)
        assert sizing.size >= best(batch_size, machine, 0.6)


@pytest.mark.parametrize(("times", "size"), [(0.3, 43), (3.9, 128)])
def test_a_wrong_prediction_kills_nobody(times: float, size: int) -> None:
    """One that is too high is believed: no step takes less than its tensors."""
    truth = piecewise(30 * MIB, 10 * MIB, 4 * MIB)
    machine = Machine(1000 * MIB, truth, lambda rows: truth(rows) / times, False)
    assert best(256, machine) == 128
    assert machine.choose(256).size == size


def test_the_floor_says_nothing_of_the_rise() -> None:
    # Predicted activations are twice too small, and the first probe lies on the floor.
    truth = piecewise(600 * MIB, 500 * MIB, 8 * MIB)
    machine = Machine(2000 * MIB, truth, piecewise(600 * MIB, 500 * MIB, 4 * MIB), False)
    assert machine.choose(512).size == best(512, machine) == 128


@pytest.mark.parametrize("floor", [0, 97, 170])
@pytest.mark.parametrize("safe", [True, False])
def test_without_a_prediction_probes_go_up(safe: bool, floor: int) -> None:
    peak = piecewise(floor * MIB, 5 * MIB, 2 * MIB)
    machine = Machine(800 * MIB, peak, lambda rows: None, safe)
    sizing = machine.choose(512)
    assert sizing.size >= (128 if safe else 64)
    up = machine.probed[1:] if safe else machine.probed
    for before, after in pairwise(up):
        assert after <= LEAP * before
    assert sizing.error_percent is None or floor or abs(sizing.error_percent) < 100


def test_a_gpu_without_a_prediction_tries_the_whole_batch_first() -> None:
    peak = piecewise(0, 5 * MIB, MIB)
    assert Machine(800 * MIB, peak, lambda rows: None, True).choose(512).size == 512


def test_leaps_are_bounded() -> None:
    peak = piecewise(1000 * MIB, 100 * MIB, 0.5 * MIB)  # the floor hides the rise
    machine = Machine(1200 * MIB, peak, peak, False)
    machine.choose(2048)
    for before, after in pairwise(machine.probed):
        assert after <= LEAP * before


def test_a_gpu_that_runs_out_tries_half() -> None:
    truth = piecewise(0, 0, 10 * MIB)
    machine = Machine(1000 * MIB, truth, lambda rows: truth(rows) / 3, True)
    sizing = machine.choose(128)
    assert not sizing.probes[0].fits and sizing.probes[0].measured is None
    assert machine.probed[1] <= machine.probed[0] // 2
    assert sizing.size == best(128, machine) == 64


def test_nothing_fits_and_the_least_that_is_needed_is_named() -> None:
    peak = piecewise(0, 700 * MIB, 100 * MIB)
    cpu = Machine(500 * MIB, peak, peak, False)
    sizing = cpu.choose(64)
    assert (sizing.size, sizing.needed, cpu.probed) == (0, 800 * MIB, [])
    assert sizing.why == (
        "a single row takes 800 MiB; 500 MiB are available, of which a tenth is left alone"
    )


def test_a_gpu_that_never_fits_has_tried_a_single_row() -> None:
    machine = Machine(500 * MIB, lambda rows: 600 * MIB, lambda rows: 10 * MIB, True)
    assert machine.choose(512).size == 0
    assert 1 in machine.probed


@pytest.mark.parametrize("batch_size", [3, 64, 65])
@pytest.mark.parametrize("predicted", [True, False])
def test_a_lonely_row_is_not_out_of_memory(batch_size: int, predicted: bool) -> None:
    peak = piecewise(0, 0, 100 * MIB)
    # A fake run refuses a single row as well.
    machine = Machine(
        700 * MIB,
        peak,
        lambda rows: peak(rows) if predicted and rows > 1 else None,
        False,
        too_few=1,
    )
    sizing = machine.choose(batch_size)
    assert sizing.size >= 2
    assert batch_size // -(-batch_size // sizing.size) > 1  # no piece has one row
    assert all(p.too_few_rows for p in sizing.probes if not p.fits)


def test_a_smaller_size_is_taken_only_where_it_is_clearly_faster() -> None:
    peak = piecewise(0, 0, 10 * MIB)
    slow = Machine(1000 * MIB, peak, peak, False, seconds=lambda size: 1 if size > 40 else 0.9)
    assert slow.choose(128).size == 64
    fast = Machine(1000 * MIB, peak, peak, False, seconds=lambda size: 1 if size > 40 else 0.5)
    sizing = fast.choose(128)
    assert sizing.size == 32
    assert "64 fit too, but 32 take 50% of their time" in sizing.why
    whole = Machine(1600 * MIB, peak, peak, False, seconds=lambda size: size)
    assert whole.choose(128).size == 128  # BatchNorm's statistics are worth more


def test_a_batch_of_one_has_one_size() -> None:
    peak = piecewise(0, 0, MIB)
    assert Machine(100 * MIB, peak, peak, False).choose(1).size == 1


def test_all_processes_probe_the_same_sizes() -> None:
    """Three threads whose memory, time and predictions differ."""
    barrier, values = Barrier(3), [0, 0, 0]
    results: list[Sizing | None] = [None] * 3
    machines = [
        Machine(
            (900 + 400 * rank) * MIB,
            piecewise(0, rank * MIB, (5 + 2 * rank) * MIB),
            lambda rows, rank=rank: None if rank == 1 and rows < 9 else 5 * MIB * rows,
            True,
            seconds=lambda size, rank=rank: 1 + rank * size,
        )
        for rank in range(3)
    ]

    def run(rank: int) -> None:
        def agree_min(value: int) -> int:
            values[rank] = value
            barrier.wait(20)
            least = min(values)
            barrier.wait(20)
            return least

        results[rank] = machines[rank].choose(256, agree_min=agree_min)

    threads = [Thread(target=run, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert machines[0].probed == machines[1].probed == machines[2].probed
    sizes = {result.size for result in results if result}
    assert len(sizes) == 1 and sizes.pop() > 0
