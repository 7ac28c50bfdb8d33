"""Which recipes of a comparison take the data, found out before anything is trained."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mlexpert.comparing.entrants import Entrant
from mlexpert.data.examples import SEQUENCES
from mlexpert.data.schema import Schema, describe
from mlexpert.errors import InputError
from mlexpert.evidence.comparison.results import HEADLINES
from mlexpert.evidence.metric_table import METRICS
from mlexpert.evidence.objectives import metrics_of
from mlexpert.evidence.sequences.metrics import NEEDED
from mlexpert.evidence.sequences.spans import mark_spans
from mlexpert.preparation import Prepared, Roles, heed, prepare


@dataclass(frozen=True)
class Admitted:
    """The recipes that are trained, and what is known of the data before that.

    Attributes:
        entrants: They, in the order given.
        left_out: The others of a family, each with the reason.
        schema: Of the training rows of the first seed.
        facts: What the record says of the data.
        user_made: Parts of the split that the data brought, and every seed shares.
        has_test: Whether there is a test split.
        groups: (N,) group of each validation row of the first seed, or None.
    """

    entrants: tuple[Entrant, ...]
    left_out: dict[str, str]
    schema: Schema
    facts: dict[str, Any]
    user_made: tuple[str, ...]
    has_test: bool
    groups: np.ndarray | None


def admit(
    entrants: Sequence[Entrant],
    ds: Any,
    roles: Roles,
    *,
    seed: int,
    leakage: Literal["refuse", "report"],
) -> Admitted:
    """Read the data once, and ask every recipe whether it takes them.

    Args:
        entrants: Who would take part.
        ds: The data.
        roles: Of its columns.
        seed: The first one.
        leakage: As for `fit`.

    Raises:
        InputError: If the data is refused, a recipe that was named itself does not take it, shares
            of the split differ, or fewer than two recipes are left.
    """
    _same_shares(entrants)
    first = entrants[0].recipe
    prepared = prepare(replace(first, seed=seed), ds, roles)
    if any(finding.severity == "error" for finding in prepared.findings) and leakage != "report":
        heed(prepared.findings, leakage)
    taken, left_out = [], {}
    for one in entrants:
        try:
            _ask(one, entrants[0], prepared)
            taken.append(one)
        except InputError as error:
            if one.is_named:
                raise
            left_out[one.name] = str(error)
    if len(taken) < 2:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise InputError(f"fewer than two recipes take this data. {reasons}")
    splits, facts = prepared.splits, prepared.facts
    about = {
        **{key: facts[key] for key in ("source", "kind", "objective", "rows", "fingerprint")},
        **{key: facts[key] for key in ("roles", "target", "how")},
        "parts": {name: part["rows"] for name, part in facts["parts"].items()},
        "num_classes": prepared.schema.num_classes,
    }
    return Admitted(
        tuple(taken),
        left_out,
        prepared.schema,
        about,
        splits.user_made,
        splits.test is not None,
        splits.validation.groups,
    )


def metrics_for(schema: Schema, asked: str | Sequence[str] | None) -> list[str]:
    """Return the metrics that are compared; the first one ranks.

    Raises:
        InputError: If one is not measured of such predictions, occurs twice, or does not say which
            of two values is better.
    """
    if asked is None:
        measured = _measured(schema)
        return [name for name in HEADLINES[schema.objective] if name in measured]
    names = [asked] if isinstance(asked, str) else list(asked)
    known = [name for name in _measured(schema) if METRICS[name].better in ("higher", "lower")]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise InputError(
                f"metric {name!r} cannot be compared here.{meant} There are: {', '.join(known)}."
            )
    if not names or len(set(names)) < len(names):
        raise InputError(f"metrics={names}; name at least one, and each once.")
    return names


def _measured(schema: Schema) -> list[str]:
    """Return the names of all metrics of such predictions, by measuring two made-up rows."""
    number = schema.num_classes
    arrays: dict[str, np.ndarray]
    if schema.objective in SEQUENCES:
        arrays = {name: np.ones(2) for name in _counts(schema)}
    elif schema.objective == "regression":
        arrays = {"predictions": np.zeros(2), "targets": np.arange(2.0)}
    elif schema.objective == "multilabel":
        zeros = np.zeros((2, number), dtype=np.int64)
        arrays = {"probabilities": zeros + 0.5, "decisions": zeros, "targets": zeros}
    else:
        arrays = {
            "probabilities": np.full((2, number), 1 / number),
            "decisions": np.zeros(2, dtype=np.int64),
            "targets": np.arange(2),
        }
    return list(metrics_of(schema.objective, arrays, train_counts=schema.class_counts))


def _counts(schema: Schema) -> set[str]:
    """Return what every model of such sequences counts, whatever its fields."""
    beside = {"tokens": {"bytes"}, "forecast": {"naive_absolute"}}.get(schema.objective, set())
    if schema.objective == "tags" and mark_spans([str(tag) for tag in schema.classes]):
        beside = {"found", "given", "true"}
    return beside | set(NEEDED[schema.objective])


def _ask(one: Entrant, first: Entrant, prepared: Prepared) -> None:
    """Refuse data that a recipe is not for."""
    recipe = one.recipe
    if recipe.objective != first.recipe.objective:
        raise InputError(
            f"{one.name} predicts {recipe.objective}, and {first.name} predicts "
            f"{first.recipe.objective}; compare recipes for one kind of target."
        )
    schema = prepared.schema
    if recipe.vocabulary != first.recipe.vocabulary:
        schema = describe(prepared.splits.train, recipe.vocabulary)
    recipe.accept(schema)
    recipe.settle(schema)


def _same_shares(entrants: Sequence[Entrant]) -> None:
    first = entrants[0]
    for field in ("validation", "test"):
        for one in entrants:
            here, there = getattr(one.recipe, field), getattr(first.recipe, field)
            if here != there:
                raise InputError(
                    f"{one.name} has {field}={here} and {first.name} {field}={there}; recipes are "
                    "compared on the same splits."
                )
