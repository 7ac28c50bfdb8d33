"""From a recipe and a user's data to the parts that training needs: read, split, audited, built."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor

from mlexpert.data.examples import Examples
from mlexpert.data.finding import worst_of_each
from mlexpert.errors import InputError
from mlexpert.preparation import Prepared, Roles, heed, prepare, prepare_folds
from mlexpert.recipe import Encoded, Parts, Recipe
from mlexpert.training.plan import Data, Plan, Stretch


@dataclass(frozen=True)
class Assembled:
    """All that a trainer is made of, on the CPU and with its first weights.

    Attributes:
        parts: What the recipe built.
        rows: What is trained on, and by what epochs are compared and decisions are made.
        plan: In what pieces to train.
        stream: What the trainer is given, one stretch after the other.
        unsampled: The training rows as they came.
    """

    parts: Parts
    rows: Encoded
    plan: Plan
    stream: tuple[Stretch, ...]
    unsampled: Data

    @property
    def train(self) -> Data:
        """The training rows, resampled where the recipe does that."""
        return self.rows.train

    @property
    def validation(self) -> Data:
        """The validation rows."""
        return self.rows.validation


def read_for(
    recipe: Recipe, ds: Any, roles: Roles, leakage: Literal["refuse", "report"] = "refuse"
) -> tuple[Recipe, Prepared]:
    """Read, split and audit the data, and settle the recipe for them.

    Raises:
        InputError: If data, roles or fields are refused.
    """
    _check(leakage)
    prepared = prepare(recipe, ds, roles)
    heed(prepared.findings, leakage)
    recipe.accept(prepared.schema)
    return recipe.settle(prepared.schema), prepared


def read_folds_for(
    recipe: Recipe, ds: Any, roles: Roles, leakage: Literal["refuse", "report"], folds: int
) -> tuple[Recipe, list[Prepared]]:
    """Do what `read_for` does, for each of several folds; one settled recipe is for all.

    Raises:
        InputError: If data, roles, fields or the number of folds are refused.
    """
    _check(leakage)
    prepared = prepare_folds(recipe, ds, roles, folds)
    # A row of the user's test split is an error only where it is trained on, which is in all folds
    # but one: that one may be the first.
    heed(worst_of_each(chain.from_iterable(one.findings for one in prepared)), leakage)
    recipe.accept(prepared[0].schema)
    return recipe.settle(prepared[0].schema), prepared


def _check(leakage: str) -> None:
    if leakage not in ("refuse", "report"):
        raise InputError(f"leakage={leakage!r}; it takes 'refuse' or 'report'.")


def assemble(
    recipe: Recipe, prepared: Prepared, *, progress: bool, profile: bool = False
) -> Assembled:
    """Build the parts of a settled recipe and encode its data; this draws the first weights."""
    schema, splits = prepared.schema, prepared.splits
    parts = recipe.build(schema)
    unsampled = recipe.encode(parts.network, splits.train, schema)
    rows = Encoded(
        unsampled if parts.resample is None else parts.resample(unsampled, schema, recipe.seed),
        recipe.encode(parts.network, splits.validation, schema),
        *(_tasks(part) for part in (splits.train, splits.validation)),
    )
    plan = _plan(recipe, parts, progress=progress, profile=profile)
    return Assembled(parts, rows, plan, recipe.stretches(parts, schema, rows), unsampled)


def _tasks(examples: Examples) -> Tensor | None:
    return None if examples.tasks is None else torch.from_numpy(examples.tasks)


def _plan(recipe: Recipe, parts: Parts, *, progress: bool, profile: bool) -> Plan:
    assert recipe.batch_size is not None, "a recipe is settled before it trains"
    return Plan(
        seed=recipe.seed,
        batch_size=recipe.batch_size,
        batch_tokens=parts.batch_tokens,
        microbatch=recipe.microbatch,
        patience=recipe.patience or 0,
        clip_norm=recipe.clip_norm or 0.0,
        ema=recipe.ema or 0.0,
        compile=recipe.compile,
        channels_last=recipe.channels_last,
        monitor=parts.monitor,
        keep=recipe.keep,
        profile=profile,
        show_progress=progress,
    )
