"""What a fit holds back of its data, and how it is had again when the process is another one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlexpert.data.examples import Examples
from mlexpert.data.seal import Sealed
from mlexpert.errors import InputError
from mlexpert.preparation import Prepared, Roles, prepare, prepare_folds
from mlexpert.recipe import Recipe


@dataclass(frozen=True)
class Held:
    """What a fit held back.

    Attributes:
        test: The test rows, under seal; None where there are none.
        fingerprint: Of the data; it names the ledger.
        validation: The validation rows; of an ensemble those of each fold.
    """

    test: Sealed | None
    fingerprint: str
    validation: tuple[Examples, ...]


def held_of(prepared: Sequence[Prepared]) -> Held:
    """Return what is held back of one division, or of folds, which share the test rows."""
    first = prepared[0]
    validation = tuple(one.splits.validation for one in prepared)
    return Held(first.splits.test, first.facts["fingerprint"], validation)


def division_of(prepared: Sequence[Prepared]) -> str:
    """Return what names one division of the data, or that into folds."""
    names = [one.facts["split_fingerprint"] for one in prepared]
    return names[0] if len(names) == 1 else hashlib.sha256("".join(names).encode()).hexdigest()


def read_again(recipe: Recipe, facts: dict[str, Any], run_dir: Path) -> Held:
    """Read and split the data of a run once more, and make sure that it is the same.

    Args:
        recipe: The run's recipe.
        facts: The run's record.
        run_dir: Its folder.

    Raises:
        InputError: If the data was in memory only, or has changed.
    """
    data = facts["data"]
    if data["source"].endswith(" in memory"):
        raise InputError(
            f"This run was fitted on {data['source']}, which is gone; ask what fit returned, "
            f"or fit again with the same data and run_dir={str(run_dir)!r}: "
            "a finished run is not trained again."
        )
    roles, folds = Roles(**data["roles"]), facts.get("folds")
    if folds:
        prepared = prepare_folds(recipe, data["source"], roles, folds)
    else:
        prepared = [prepare(recipe, data["source"], roles)]
    if division_of(prepared) != data["split_fingerprint"]:
        raise InputError(
            f"{data['source']} has changed since this run was fitted; its test split is another "
            "one."
        )
    return held_of(prepared)
