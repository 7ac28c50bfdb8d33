"""What an attacker is asked to do: read, checked, and in the form that the record keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from mlexpert.blocks.attacks.threat import NORMS, Norm, Threat
from mlexpert.data.nearest import did_you_mean, listing
from mlexpert.data.schema import Column, Numeric
from mlexpert.errors import InputError
from mlexpert.families.threats import OF_BUDGETS, OF_DEVIATIONS, OF_PIXELS

AttackName = Literal["auto", "quick", "pgd", "apgd", "square", "fgsm"]
ATTACKS: tuple[str, ...] = get_args(AttackName)
TUNABLE = {"pgd": ("steps", "restarts"), "apgd": ("steps",), "square": ("steps",)}
"""What can be set of an attack; the others are fixed ensembles."""


@dataclass(frozen=True)
class Settings:
    """How one attack is run.

    Attributes:
        attack: Its name.
        steps: Steps, or queries of Square; None for its own number.
        restarts: Random starts; None for its own number.
        rows: Most rows that are attacked; None for all.
        seed: Of rows, starts and queries.
        batch_size: Rows that are looked at together.
    """

    attack: AttackName
    steps: int | None
    restarts: int | None
    rows: int | None
    seed: int
    batch_size: int

    def __post_init__(self) -> None:
        if self.attack not in ATTACKS:
            near = did_you_mean(str(self.attack), list(ATTACKS))
            raise InputError(f"attack={self.attack!r}; there are {listing(ATTACKS)}.{near}")
        for name in ("steps", "restarts", "rows", "batch_size"):
            value = getattr(self, name)
            if value is None and name != "batch_size":
                continue
            if not _is_whole(value) or value < 1:
                raise InputError(f"{name}={value!r}; it takes a whole number of at least 1.")
        if not _is_whole(self.seed) or not 0 <= self.seed < 2**63:
            raise InputError(f"seed={self.seed!r}; it takes a whole number from 0 to 2**63 - 1.")
        for name in ("steps", "restarts"):
            if getattr(self, name) is not None and name not in TUNABLE.get(self.attack, ()):
                raise InputError(
                    f"{name}={getattr(self, name)!r} is not for attack={self.attack!r}, which has "
                    "its own; it is for attack='pgd'."
                )


@dataclass(frozen=True)
class AskedThreat:
    """What the attacker may do, before the rows are known.

    Attributes:
        norm: Of the ball.
        epsilon: Its radius, in `unit`.
        unit: What epsilon counts, in words.
        budgets: Of a table, column to radius in the column's own unit; None for other inputs.
    """

    norm: Norm
    epsilon: float
    unit: str = OF_PIXELS
    budgets: dict[str, float] | None = None

    def of_pixels(self) -> Threat:
        """Return the threat to inputs in [0, 1]."""
        return Threat(self.norm, self.epsilon)

    def of_columns(self, columns: tuple[Column, ...], inputs: Tensor) -> Threat:
        """Return the threat to the rows of a table.

        Columns without a budget stay as they are: categories, and what marks missing values. The
        box is the range of each column in training, and wider where a row lies outside of it.

        Args:
            columns: Of the training data, D.
            inputs: (N, D), or (N, 2 D) with marks of missing values behind: `attacked_table`.
        """
        budgets = self.budgets or {}
        low, high = inputs.amin(dim=0), inputs.amax(dim=0)
        epsilon = torch.zeros_like(low)
        for place, column in enumerate(columns):
            if isinstance(column, Numeric):
                epsilon[place] = budgets.get(column.name, 0.0)
                low[place] = min(float(low[place]), column.quantiles[0])
                high[place] = max(float(high[place]), column.quantiles[-1])
        return Threat("linf", epsilon, low, high)

    def to_dict(self) -> dict[str, Any]:
        """Return the form that the record keeps."""
        bounds = (0.0, 1.0) if self.budgets is None else (None, None)
        return {
            "norm": self.norm,
            "epsilon": self.epsilon,
            "unit": self.unit,
            "low": bounds[0],
            "high": bounds[1],
            "knowledge": "white-box",
            "budgets": self.budgets,
        }

    def is_like(self, trained: Mapping[str, Any]) -> bool:
        """Return whether a model was trained for this very threat."""
        same = math.isclose(float(trained["epsilon"]), self.epsilon, rel_tol=1e-6)
        return (
            self.norm == trained["norm"]
            and same
            and (self.budgets or {}) == dict(trained.get("budgets") or {})
        )


def threat_to_pixels(
    norm: str | None,
    epsilon: float | None,
    *,
    num_values: int,
    trained: Mapping[str, Any] | None = None,
) -> AskedThreat:
    """Return the threat to inputs in [0, 1], by default the one that the model was trained for.

    Args:
        norm: As given; None for the trained one, or "linf".
        epsilon: As given; None for the trained one.
        num_values: Values of one input.
        trained: What the model was trained for, or None.

    Raises:
        InputError: If there is no radius, or it cannot be meant.
    """
    chosen = _norm(norm if norm is not None else (trained or {}).get("norm", "linf"))
    if epsilon is None and trained is not None and trained["norm"] == chosen:
        epsilon = trained["epsilon"]
    if epsilon is None:
        why = "this model was trained for no threat"
        if trained is not None:
            why = f"this model was trained for {trained['norm']} and norm={chosen!r} was asked"
        raise InputError(
            f"epsilon is missing, and {why}. Say what the attacker may do: for images "
            "norm='linf' with epsilon=8/255 (colour photographs) or 0.3 (MNIST) is usual."
        )
    largest = {"linf": 1.0, "l2": math.sqrt(num_values), "l1": float(num_values)}[chosen]
    radius = _radius(epsilon)
    if radius > largest and chosen == "linf":
        raise InputError(
            f"epsilon={radius:g} is more than the whole range of inputs, 0 to 1. Of pixels from 0 "
            f"to 255 write {radius:g}/255 = {radius / 255:.3g}."
        )
    if radius > largest:
        raise InputError(
            f"epsilon={radius:g}: no two inputs of {num_values} values in [0, 1] are further apart "
            f"than {largest:.4g} in {chosen}. Of pixels from 0 to 255 divide by 255."
        )
    return AskedThreat(chosen, radius)


def threat_to_columns(
    norm: str | None,
    epsilon: float | None,
    budgets: Mapping[str, float] | None,
    columns: tuple[Column, ...],
    *,
    trained: Mapping[str, Any] | None = None,
) -> AskedThreat:
    """Return the threat to a table: how far each numeric column may be moved.

    Args:
        norm: "linf", or None.
        epsilon: Standard deviations of a column in training; None where budgets are given.
        budgets: Column to radius, in the column's own unit; columns that it does not name stay.
        columns: Of the training data.
        trained: What the model was trained for, or None.

    Raises:
        InputError: If a budget or radius cannot be meant, names no numeric column, or is missing.
    """
    if norm is not None and _norm(norm) != "linf":
        raise InputError(
            f"norm={norm!r}: columns have units of their own, and each has a budget of its own; "
            "tables take norm='linf'."
        )
    numeric = {column.name: column for column in columns if isinstance(column, Numeric)}
    if not numeric:
        raise InputError("This table has categories only, and none can be moved by a little.")
    if budgets is not None and epsilon is not None:
        raise InputError("Give either epsilon=, of all columns alike, or budgets= of each.")
    if budgets is None and epsilon is None:
        if trained is None:
            raise InputError(
                "epsilon is missing, and this model was trained for no threat. Say how far a "
                "column may be moved: epsilon=0.1 standard deviations, or budgets={'age': 2.0}."
            )
        if trained.get("budgets"):
            given = _checked_budgets(trained["budgets"], numeric)
            unit = str(trained.get("unit") or OF_BUDGETS)
            return AskedThreat("linf", float(trained["epsilon"]), unit, given)
        epsilon = trained["epsilon"]
    if budgets is not None:
        return AskedThreat("linf", 1.0, OF_BUDGETS, _checked_budgets(budgets, numeric))
    radius = _radius(epsilon)
    each = {name: radius * column.std for name, column in numeric.items() if column.std}
    return AskedThreat("linf", radius, OF_DEVIATIONS, each)


def _checked_budgets(
    budgets: Mapping[str, float], numeric: Mapping[str, Numeric]
) -> dict[str, float]:
    unknown = [name for name in budgets if name not in numeric]
    if unknown:
        raise InputError(
            f"budgets name {listing(unknown)}, no numeric column; there are {listing(numeric)}."
            + did_you_mean(str(unknown[0]), list(numeric))
        )
    radii = {name: _radius(value, f"budgets[{name!r}]", 0.0) for name, value in budgets.items()}
    radii = {name: radius for name, radius in radii.items() if radius}
    if not radii:
        raise InputError("budgets move no column: give at least one a number above 0.")
    return radii


def _norm(norm: str) -> Norm:
    for known in NORMS:
        if norm == known:
            return known
    raise InputError(f"norm={norm!r}; there are {listing(NORMS)}.{did_you_mean(str(norm), NORMS)}")


def _radius(value: Any, name: str = "epsilon", least: float = math.nan) -> float:
    """Return a radius as a float, above 0 or from `least`."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not (value > 0 or value == least):
        raise InputError(f"{name}={value!r}; it has to be a finite number above 0.")
    return float(value)


def _is_whole(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)
