"""Schedules against torch's own schedulers."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
)

from mlexpert.blocks.schedules import Schedule, constant, one_cycle, warmup_cosine, warmup_linear

STEPS = 200


def learning_rates(make, peak: float = 1.0) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    scheduler: LRScheduler = make(optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # SequentialLR passes an epoch, which torch itself warns of
            scheduler.step()
    return rates


def factors(schedule: Schedule, steps: int = STEPS) -> list[float]:
    return [schedule(step / steps) for step in range(STEPS)]


def test_warmup_cosine_equals_torch() -> None:
    reference = learning_rates(
        lambda o: SequentialLR(
            o,
            [
                LinearLR(o, start_factor=0.01, total_iters=40),
                CosineAnnealingLR(o, T_max=160, eta_min=0.1),
            ],
            milestones=[40],
        )
    )
    assert factors(warmup_cosine(0.2, end=0.1)) == pytest.approx(reference, abs=1e-9)


def test_warmup_linear_equals_torch() -> None:
    reference = learning_rates(
        lambda o: SequentialLR(
            o,
            [
                LinearLR(o, start_factor=0.2, total_iters=50),
                LinearLR(o, start_factor=1.0, end_factor=0.05, total_iters=150),
            ],
            milestones=[50],
        )
    )
    assert factors(warmup_linear(0.25, start=0.2, end=0.05)) == pytest.approx(reference, abs=1e-9)


def test_one_cycle_equals_torch() -> None:
    # torch puts the peak on step pct_start * total - 1 of the total - 1 steps between first and
    # last.
    reference = learning_rates(
        lambda o: OneCycleLR(o, max_lr=1.0, total_steps=STEPS + 1, pct_start=0.3)
    )
    peak = (0.3 * (STEPS + 1) - 1) / STEPS
    assert factors(one_cycle(peak)) == pytest.approx(reference, abs=1e-9)


@pytest.mark.parametrize(
    "schedule", [constant(), warmup_cosine(0), warmup_linear(0.5), one_cycle()]
)
def test_every_schedule_stays_in_the_unit_interval_and_reaches_the_peak(schedule: Schedule) -> None:
    values = [schedule(step / 1000) for step in range(1001)]
    assert min(values) >= 0
    assert max(values) == pytest.approx(1.0, abs=1e-4)


def test_no_warmup_starts_at_the_peak_and_training_ends_at_the_end() -> None:
    assert warmup_cosine(0)(0.0) == warmup_linear(0)(0.0) == 1.0
    assert warmup_cosine(0.1, end=0.25)(1.0) == warmup_linear(0.1, end=0.25)(1.0) == 0.25


@pytest.mark.parametrize("make", [warmup_cosine, warmup_linear, one_cycle])
@pytest.mark.parametrize("warmup", [-0.1, 1.0, 5])
def test_warmup_is_a_fraction(make, warmup: float) -> None:
    with pytest.raises(ValueError, match="fraction"):
        make(warmup)
