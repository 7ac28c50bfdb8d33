"""From what a user hands in to data that can be trained on: read, split, audited, described."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlexpert.data.encode import encode_targets
from mlexpert.data.examples import Examples
from mlexpert.data.intake import read
from mlexpert.data.leakage import Finding, audit
from mlexpert.data.schema import Schema, describe
from mlexpert.data.splits import Splits, split
from mlexpert.errors import InputError
from mlexpert.recipe import Recipe


@dataclass(frozen=True)
class Roles:
    """Which column is what, as the user named them; None is inferred."""

    target: str | None = None
    inputs: str | list[str] | None = None
    group: str | None = None
    time: str | None = None
    subgroups: str | list[str] | None = None


@dataclass(frozen=True)
class Prepared:
    """Data ready to be trained on, and all that is to be said of it."""

    splits: Splits
    schema: Schema
    findings: list[Finding]
    facts: dict[str, Any]


def prepare(recipe: Recipe, ds: Any, roles: Roles) -> Prepared:
    """Read and split the data, audit the split, and describe the training rows.

    Raises:
        InputError: If data or roles are refused.
    """
    parts = read(ds, **asdict(roles))
    splits = split(parts, validation=recipe.validation, test=recipe.test, seed=recipe.seed)
    schema = describe(splits.train)
    rows = {"train": len(splits.train), "validation": len(splits.validation)}
    if splits.test is not None:
        rows["test"] = len(splits.test)
    counts = {
        "train": list(schema.class_counts),
        "validation": _class_counts(splits.validation, schema),
    }
    facts = {
        "source": _source(ds),
        "kind": schema.kind,
        "rows": sum(rows.values()),
        "fingerprint": splits.fingerprint,
        "split_fingerprint": splits.split_fingerprint,
        "roles": asdict(roles),
        "target": splits.train.target_name,
        "inputs": list(splits.train.input_names),
        "notes": list(splits.train.notes),
        "how": splits.how,
        "parts": {
            name: {"rows": number} | ({"class_counts": counts[name]} if name in counts else {})
            for name, number in rows.items()
        },
    }
    return Prepared(splits, schema, audit(splits), facts)


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
    return np.bincount(
        encode_targets(examples.targets, schema), minlength=schema.num_classes
    ).tolist()


def _source(ds: Any) -> str:
    """Return where the data came from: an absolute path, a name, or the kind of object."""
    if isinstance(ds, (str, Path)):
        return str(Path(ds).resolve()) if Path(ds).exists() else str(ds)
    return f"{type(ds).__module__.split('.')[0]}.{type(ds).__name__} in memory"
