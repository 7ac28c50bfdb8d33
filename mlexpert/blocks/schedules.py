"""Learning-rate schedules: the fraction of training done to a factor on the peak rate.

They are functions of a fraction, not of a step, so that a longer run or another batch size keeps
their shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float], float]


def constant() -> Schedule:
    """Keep the factor at 1."""
    return lambda fraction: 1.0


def warmup_cosine(warmup: float = 0.05, *, start: float = 0.01, end: float = 0.0) -> Schedule:
    """Rise linearly to 1, then fall along half a cosine.

    Paper: Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5.

    Args:
        warmup: Fraction of training in which the factor rises; 0 starts at 1.
        start: Factor at fraction 0. Above zero, so that the first step is not lost.
        end: Factor at fraction 1.

    Returns:
        The schedule.

    Raises:
        ValueError: If `warmup` is outside [0, 1).

    Example:
        >>> warmup_cosine(0.5)(0.5)
        1.0
    """
    return _after_warmup(warmup, start, lambda done: _cosine(1.0, end, done))


def warmup_linear(warmup: float = 0.05, *, start: float = 0.01, end: float = 0.0) -> Schedule:
    """Rise linearly to 1, then fall linearly; the arguments are those of `warmup_cosine`."""
    return _after_warmup(warmup, start, lambda done: 1.0 + (end - 1.0) * done)


def stable_then_linear(hold: float = 0.4, *, warmup: float = 0.0, end: float = 0.0) -> Schedule:
    """Stay at 1, then fall linearly: training may be cut short anywhere before the fall.

    Paper: Zhai et al. 2022, arXiv:2106.04560, section 3.5 (warm-up, constant rate, cool-down).

    Args:
        hold: Fraction of training up to which the factor is 1.
        warmup: Fraction in which it rises from 0.01 before.
        end: Factor at fraction 1.

    Returns:
        The schedule.

    Raises:
        ValueError: If `hold` is outside [0, 1) or below `warmup`.
    """
    _check_warmup(warmup)
    if not warmup <= hold < 1.0:
        raise ValueError(f"hold is a fraction in [warmup, 1), got {hold}")

    def factor(fraction: float) -> float:
        if fraction < warmup:
            return 0.01 + 0.99 * fraction / warmup
        return 1.0 if fraction <= hold else 1.0 + (end - 1.0) * (fraction - hold) / (1.0 - hold)

    return factor


def one_cycle(warmup: float = 0.3, *, start: float = 0.04, end: float = 4e-6) -> Schedule:
    """Rise to 1 along half a cosine, then fall along another.

    Paper: Smith and Topin 2018, arXiv:1708.07120.

    The defaults are those of `torch.optim.lr_scheduler.OneCycleLR`: a start at 1/25 of the peak and
    an end at 1/10,000 of the start.

    Args:
        warmup: Fraction of training in which the factor rises.
        start: Factor at fraction 0.
        end: Factor at fraction 1.

    Returns:
        The schedule.

    Raises:
        ValueError: If `warmup` is outside [0, 1).
    """
    _check_warmup(warmup)

    def factor(fraction: float) -> float:
        if fraction < warmup:
            return _cosine(start, 1.0, fraction / warmup)
        return _cosine(1.0, end, (fraction - warmup) / (1.0 - warmup))

    return factor


def _after_warmup(warmup: float, start: float, decay: Schedule) -> Schedule:
    _check_warmup(warmup)

    def factor(fraction: float) -> float:
        if fraction < warmup:
            return start + (1.0 - start) * fraction / warmup
        return decay((fraction - warmup) / (1.0 - warmup))

    return factor


def _cosine(first: float, last: float, done: float) -> float:
    return last + (first - last) * (1.0 + math.cos(math.pi * done)) / 2.0


def _check_warmup(warmup: float) -> None:
    if not 0.0 <= warmup < 1.0:
        raise ValueError(f"warmup is a fraction of training in [0, 1), got {warmup}")
