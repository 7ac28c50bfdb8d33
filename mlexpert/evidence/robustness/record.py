"""What is known of the attacks on a run's model: threat, accuracy, each attack, each check."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ThreatRecord:
    """What an attacker may do to an input.

    Attributes:
        norm: "linf", "l2" or "l1".
        epsilon: Radius of the ball, in `unit`.
        unit: What epsilon counts, in words.
        low, high: The box that inputs lie in; None where it has no one bound.
        knowledge: "white-box", or what else the attacker knows.
        budgets: Column to its own radius, of a table; empty where one radius is for all.
    """

    norm: str
    epsilon: float
    unit: str = ""
    low: float | None = None
    high: float | None = None
    knowledge: str = "white-box"
    budgets: Mapping[str, float] | None = None

    def is_like(self, other: ThreatRecord) -> bool:
        """Return whether the ball is the same one: of a table, whether all budgets are."""
        mine, others = _moved(self.budgets), _moved(other.budgets)
        if self.norm != other.norm or mine.keys() != others.keys():
            return False
        if mine:  # epsilon only says what they are counted in
            return all(_is_close(mine[name], others[name]) for name in mine)
        return _is_close(self.epsilon, other.epsilon)


@dataclass(frozen=True)
class ShareRecord:
    """Rows that are decided rightly: their share, its 95 % interval, or None, and their number."""

    accuracy: float
    interval: tuple[float, float] | None
    correct: int


@dataclass(frozen=True)
class PictureRecord:
    """P inputs with what an attack made of them.

    Attributes:
        clean: (P, C, H, W) as they are.
        adversarial: (P, C, H, W) moved.
        targets: (P,) true classes.
        before: (P,) decided of `clean`.
        after: (P,) decided of `adversarial`.
    """

    clean: np.ndarray
    adversarial: np.ndarray
    targets: np.ndarray
    before: np.ndarray
    after: np.ndarray


@dataclass(frozen=True)
class AttackRecord:
    """What attacks on one split under one threat left standing.

    Attributes:
        name: Of the file, without its ending.
        part: "test", "validation" or "given".
        threat: What the attacks were allowed.
        trained: The threat that the model was trained against, or None.
        num_rows: Rows that were attacked.
        total_rows: Rows of the split, or None.
        clean: Rows decided rightly without an attack, or None.
        robust: Rows decided rightly whatever the attacks did.
        attacks: In their order: "name", "parameters", "standing_before", "standing_after",
            "seconds" or None.
        checks: "name", "title", "verdict" and "detail" of each.
        verdict: "trusted", "suspect", "invalid", or "" where there is none.
        sweep: (S, 2) epsilon and accuracy, smallest epsilon first; S may be 0.
        corruptions: Kind to severity to accuracy.
        losses: (G, G) losses about an input, or None.
        span: How far `losses` reach from the input, in the unit of epsilon.
        facts: "created", "mlexpert", "seed", "validity", "zero_gradients" as they were written.
        pictures: Some of the inputs, or None.
    """

    name: str
    part: str
    threat: ThreatRecord
    trained: ThreatRecord | None
    num_rows: int
    total_rows: int | None
    clean: ShareRecord | None
    robust: ShareRecord
    attacks: tuple[Mapping[str, Any], ...]
    checks: tuple[Mapping[str, str], ...]
    verdict: str
    sweep: np.ndarray
    corruptions: Mapping[str, Mapping[int, float]]
    losses: np.ndarray | None
    span: float
    facts: Mapping[str, Any]
    pictures: PictureRecord | None

    @property
    def is_as_trained(self) -> bool:
        """Whether the attacks were allowed what training prepared for."""
        return self.trained is not None and self.threat.is_like(self.trained)


def _moved(budgets: Mapping[str, float] | None) -> dict[str, float]:
    """Return the budgets of columns that may move at all."""
    return {name: budget for name, budget in (budgets or {}).items() if budget}


def _is_close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-6)
