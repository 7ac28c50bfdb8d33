"""The threat model of rows of a schema: as attacks take it, and as records tell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mlexpert.blocks.attacks.threat import Norm, Threat
from mlexpert.data.nearest import listing
from mlexpert.data.schema import Numeric, Schema
from mlexpert.errors import InputError

OF_PIXELS = "of the pixel range, 0 to 1"
OF_DEVIATIONS = "standard deviations of each column"
OF_BUDGETS = "times the budget of each column"


def threat_for(
    schema: Schema, norm: Norm, epsilon: float, budgets: Mapping[str, float] | None = None
) -> Threat:
    """Return what the attacker may do to encoded rows.

    Images stay in [0, 1]. Of a table numeric columns move within their budgets and the range of
    training; categories and missing values stay.

    Args:
        schema: Of the training rows.
        norm: Of the attacker's change.
        epsilon: Its largest, of images in the unit of the pixel range, of tables in standard
            deviations of each column.
        budgets: Of tables, the largest change by column in its own unit, instead of epsilon.

    Raises:
        InputError: If epsilon is in units of 0..255, the rows are neither images nor tables, or a
            budget is of no numeric column.
    """
    if schema.kind == "image":
        if budgets is not None:
            raise InputError("budgets are for the columns of tables; images have epsilon.")
        if norm == "linf" and epsilon > 1:
            raise InputError(
                f"epsilon={epsilon:g}; pixels lie between 0 and 1, and more than 1 says nothing. "
                f"If {epsilon:g} is of 255 levels, give {epsilon:g}/255 = {epsilon / 255:.4f}."
            )
        return Threat(norm, epsilon)
    if schema.kind != "tabular":
        raise InputError(f"Attacks change images and tables; these rows are {schema.kind}.")
    if norm != "linf":
        raise InputError(f"norm={norm!r}: columns have units of their own; take norm='linf'.")
    own = column_budgets(schema, epsilon, budgets)
    low, high = [-torch.inf] * len(own), [torch.inf] * len(own)
    for place, column in enumerate(schema.columns):
        if isinstance(column, Numeric):
            low[place], high[place] = column.quantiles[0], column.quantiles[-1]
    return Threat("linf", torch.tensor(own), torch.tensor(low), torch.tensor(high))


def column_budgets(
    schema: Schema, epsilon: float, budgets: Mapping[str, float] | None
) -> list[float]:
    """Return the largest change of each column of a table, in its own unit; 0 for categories.

    Raises:
        InputError: If a budget is of no numeric column, or is not a number of 0 or more.
    """
    numeric = [column.name for column in schema.columns if isinstance(column, Numeric)]
    if not numeric:
        raise InputError("The table has no numeric column, which alone an attacker can move.")
    for name, budget in (budgets or {}).items():
        if name not in numeric:
            raise InputError(f"budgets name {name!r}; the numeric columns are: {listing(numeric)}.")
        if not isinstance(budget, int | float) or not 0 <= budget < torch.inf:
            raise InputError(f"budgets[{name!r}] is {budget!r}; it takes a number of 0 or more.")
    if budgets is not None:
        return [float(budgets.get(column.name, 0.0)) for column in schema.columns]
    return [
        epsilon * column.std if isinstance(column, Numeric) else 0.0 for column in schema.columns
    ]


def declared(
    schema: Schema, norm: Norm, epsilon: float, budgets: Mapping[str, float] | None
) -> dict[str, Any]:
    """Return the threat model as a record tells it, JSON-able."""
    told = {"norm": norm, "knowledge": "white-box"}
    if schema.kind == "image":
        box = {"low": 0.0, "high": 1.0}
        return {**told, "epsilon": epsilon, "unit": OF_PIXELS, **box, "budgets": None}
    every = column_budgets(schema, epsilon, budgets)
    own = {
        column.name: budget for column, budget in zip(schema.columns, every, strict=True) if budget
    }
    size = (epsilon, OF_DEVIATIONS) if budgets is None else (1.0, OF_BUDGETS)
    return {
        **told,
        "epsilon": size[0],
        "unit": size[1],
        **dict.fromkeys(("low", "high")),
        "budgets": own,
    }
