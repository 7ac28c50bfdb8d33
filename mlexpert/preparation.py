"""From what a user hands in to data that can be trained on: read, split, audited, described."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlexpert.data.column_notes import column_notes
from mlexpert.data.encode import encode_targets
from mlexpert.data.examples import Examples
from mlexpert.data.finding import Finding
from mlexpert.data.folds import fold_splits
from mlexpert.data.schema import Schema
from mlexpert.data.splits import Splits
from mlexpert.errors import InputError
from mlexpert.recipe import Recipe


@dataclass(frozen=True)
class Roles:
    """Which column is what, as the user named them; None is inferred."""

    target: str | list[str] | None = None
    inputs: str | list[str] | None = None
    group: str | None = None
    time: str | None = None
    subgroups: str | list[str] | None = None
    sample_weight: str | Any = None
    """A column, or an array (N,) as long as the undivided rows, or those of train."""


@dataclass(frozen=True)
class Prepared:
    """Data ready to be trained on, and all that is to be said of it.

    Attributes:
        splits: The rows, by part.
        schema: What is known of the training rows.
        findings: Of the leakage audit.
        facts: What the run's record says of the data, as JSON can hold it.
        validation_rows: For a fold, where its validation rows (N',) stand among all rows that are
            not test, in their original order; else None.
    """

    splits: Splits
    schema: Schema
    findings: list[Finding]
    facts: dict[str, Any]
    validation_rows: np.ndarray | None = None


def prepare(recipe: Recipe, ds: Any, roles: Roles) -> Prepared:
    """Read and split the data, audit the split, and describe the training rows.

    Raises:
        InputError: If data or roles are refused.
    """
    parts = _read(recipe, ds, roles)
    return _prepared(recipe, ds, roles, recipe.divide(parts))


def prepare_folds(recipe: Recipe, ds: Any, roles: Roles, folds: int) -> list[Prepared]:
    """Read the data once, and prepare every fold of the rows that are not test.

    The sealed test and the fingerprint are those that `prepare` gives, and shared by all folds; the
    schema of each describes its own training rows.

    Raises:
        InputError: If data or roles are refused, there are fewer than two folds, the data brings a
            validation split or has times, or a class has fewer distinct rows than there are folds.
    """
    dealt = fold_splits(
        _read(recipe, ds, roles),
        folds=folds,
        validation=recipe.validation,
        test=recipe.test,
        seed=recipe.seed,
    )
    return [_prepared(recipe, ds, roles, fold.splits, fold.validation_rows) for fold in dealt]


def _read(recipe: Recipe, ds: Any, roles: Roles) -> dict[str, Examples]:
    return recipe.read(recipe.arranged(ds), vars(roles))


def _prepared(
    recipe: Recipe, ds: Any, roles: Roles, splits: Splits, validation_rows: np.ndarray | None = None
) -> Prepared:
    """Describe and audit a split, and say of it what the run's record is to hold."""
    train = splits.train
    schema = recipe.describe(train)
    parts: dict[str, dict[str, Any]] = {
        "train": {"rows": len(train)},
        "validation": {"rows": len(splits.validation)},
    }
    if schema.objective in ("classification", "multilabel"):
        parts["train"]["class_counts"] = list(schema.class_counts)
        parts["validation"]["class_counts"] = _class_counts(splits.validation, schema)
    if splits.test is not None:
        parts["test"] = {"rows": len(splits.test)}
    facts = {
        "source": _source(ds),
        "kind": schema.kind,
        "objective": schema.objective,
        "rows": sum(part["rows"] for part in parts.values()),
        "fingerprint": splits.fingerprint,
        "split_fingerprint": splits.split_fingerprint,
        "roles": _named(roles),
        "weights": _weights(splits),
        "target": train.target_name,
        "inputs": list(train.input_names),
        "notes": [*train.notes, *column_notes(schema)],
        "how": splits.how,
        "parts": parts,
    }
    return Prepared(splits, schema, recipe.audit(splits), facts, validation_rows)


def heed(findings: list[Finding], leakage: Literal["refuse", "report"]) -> None:
    """Warn of what the audit found, and refuse what makes the test split worthless.

    Raises:
        InputError: If `leakage` is "refuse" and rows of the user's own split repeat in train.
    """
    errors = [finding.message for finding in findings if finding.severity == "error"]
    if errors and leakage == "refuse":
        raise InputError(" ".join(errors))
    for finding in findings:
        if finding.severity in ("warning", "error"):
            warnings.warn(f"leakage audit: {finding.message}", stacklevel=4)


def _class_counts(examples: Examples, schema: Schema) -> list[int]:
    codes = encode_targets(examples.targets, schema)
    if schema.objective == "multilabel":
        return codes.sum(dim=0).int().tolist()
    return np.bincount(codes, minlength=schema.num_classes).tolist()


def _named(roles: Roles) -> dict[str, Any]:
    """Return the roles as columns are named; weights that came as an array have no name."""
    weight = roles.sample_weight
    named = {**vars(roles), "sample_weight": weight if isinstance(weight, str) else None}
    return {
        role: names if names is None or isinstance(names, str) else list(names)
        for role, names in named.items()
    }


def _weights(splits: Splits) -> dict[str, Any] | None:
    """Return what is to be told of the weights of the training rows, and what names all of them.

    Those of validation choose epoch and decision, so they are in the digest; so is which rows have
    them, as those of weight 0 are left out of train.
    """
    weights = splits.train.weights
    if weights is None:
        return None
    digest = hashlib.sha256()
    for part in (splits.train, splits.validation):
        digest.update(b"none" if part.weights is None else part.weights.astype("<f8").tobytes())
    digest.update(splits.digests["train"].astype("<u8").tobytes())
    return {
        "mean": float(weights.mean()),
        "low": float(weights.min()),
        "high": float(weights.max()),
        "digest": digest.hexdigest(),
    }


def _source(ds: Any) -> str:
    """Return where the data came from: an absolute path, a name, or the kind of object."""
    if isinstance(ds, (str, Path)):
        return str(Path(ds).resolve()) if Path(ds).exists() else str(ds)
    return f"{type(ds).__module__.split('.')[0]}.{type(ds).__name__} in memory"
