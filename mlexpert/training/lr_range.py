"""The learning-rate range test: how the loss answers while the rate grows from step to step.

What it gives is a bracket and not an optimum: below it the loss barely moves, above it training
diverges. It looks at the first hundred steps of fresh weights and at nothing else, so it knows
neither what a schedule, a longer training or weight decay would ask for, nor how well the model
generalises. Start from the suggestion, then compare a few rates around it on validation data.

Paper: Smith 2015, arXiv:1506.01186, section 3.3.
Differs from the paper: the rate grows exponentially, and the loss of the batch is watched instead
of the accuracy. The suggestion is where the smoothed loss falls fastest over the log of the rate,
by its slope over a tenth of the sweep (the slope from step to step is mostly noise); a tenth of the
rate at the minimum is the other figure that people use. Smoothing looks backwards only, so both
marks lie to the right of where the loss itself turns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from mlexpert.errors import InputError

DIVERGED = 4.0
"""The sweep ends where the smoothed loss is above this many times its minimum."""


@dataclass(frozen=True)
class LrRange:
    """What a sweep saw, one entry a step, and the rates read off it.

    Attributes:
        lrs: Rates, growing exponentially.
        losses: The loss of each step's batch, before the step.
        smoothed: Their exponential moving average, corrected for its start.
        steepest: Rate at which `smoothed` falls fastest over the log of the rate.
        minimum: Rate at which `smoothed` is lowest.
        suggested: `steepest`, where the loss fell by more than its noise.
        note: Why the sweep ended, and why there is no suggestion where there is none.
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float | None
    minimum: float | None
    suggested: float | None
    note: str

    def record(self) -> dict[str, Any]:
        """Return all of it as plain JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }


def lr_range(
    step: Callable[[float], float],
    *,
    start: float = 1e-6,
    end: float = 10.0,
    num_steps: int = 100,
    smoothing: float = 0.95,
) -> LrRange:
    """Sweep the learning rate upwards until the loss diverges, which is no error.

    The weights are spent afterwards: hand in a copy of the model, or put the old weights back.

    Args:
        step: Makes one training step at this peak rate, each time on another batch, and returns
            the loss of that batch before the step.
        start: Rate of the first step.
        end: Rate of the last step.
        num_steps: Most steps to make.
        smoothing: Weight of the past in the moving average of the loss, in [0, 1).

    Raises:
        InputError: If the sweep has no range, too few steps, or no such smoothing.
    """
    _require(start, end, num_steps, smoothing)
    lrs: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    # The average of the first few losses is as noisy as they are: it is judged only after these.
    calm = max(2, num_steps // 10)
    average, lowest = 0.0, math.inf
    ended = f"The sweep reached lr={end:g} without divergence."
    for number in range(num_steps):
        lr = start * (end / start) ** (number / (num_steps - 1))
        loss = step(lr)
        if not math.isfinite(loss):
            ended = f"The sweep ended at lr={lr:.2g}: the loss is not finite."
            break
        average = smoothing * average + (1.0 - smoothing) * loss
        lrs.append(lr)
        losses.append(loss)
        smoothed.append(average / (1.0 - smoothing ** (number + 1)))
        if number < calm:
            continue
        lowest = min(lowest, smoothed[-1])
        # Written so that it also holds where a loss is negative, as a log-density's can be.
        if smoothed[-1] > lowest + (DIVERGED - 1.0) * abs(lowest):
            ended = f"The sweep ended at lr={lr:.2g}: the loss is {DIVERGED:g} times its minimum."
            break
    return _read(lrs, losses, smoothed, calm, ended)


def _read(
    lrs: list[float], losses: list[float], smoothed: list[float], calm: int, ended: str
) -> LrRange:
    """Find the marks of a sweep, whose first `calm` steps tell the level and the noise."""
    seen = tuple(lrs), tuple(losses), tuple(smoothed)
    lowest = min(range(calm, len(lrs)), key=smoothed.__getitem__, default=0)
    if lowest < 2 * calm or not _falls(losses[:calm], smoothed[lowest]):
        why = (
            "No rate is suggested: nowhere in the sweep did the loss fall by more than its noise "
            "from batch to batch. It starts too high, or the model learns at no rate."
        )
        return LrRange(*seen, steepest=None, minimum=None, suggested=None, note=f"{ended} {why}")
    begin = min(range(calm, lowest - calm + 1), key=lambda at: smoothed[at + calm] - smoothed[at])
    steepest = lrs[begin + calm // 2]
    return LrRange(*seen, steepest=steepest, minimum=lrs[lowest], suggested=steepest, note=ended)


def _falls(first: list[float], lowest: float) -> bool:
    """Tell a fall from noise; about three in a hundred sweeps of nothing but noise pass for one."""
    level = fmean(first)
    rounding = 1e-6 * abs(level)
    return level - lowest > max(stdev(first), rounding)


def _require(start: float, end: float, num_steps: int, smoothing: float) -> None:
    if not 0.0 < start < end < math.inf:
        raise InputError(
            f"A range of rates needs 0 < start < end; seen: start={start:g}, end={end:g}."
        )
    if num_steps < 20:
        raise InputError(f"num_steps={num_steps} is too short a sweep; 20 is the least, 100 usual.")
    if not 0.0 <= smoothing < 1.0:
        raise InputError(f"smoothing={smoothing:g} is not in [0, 1).")
