"""Divide data into train, validation and a sealed test, or keep the user's own division."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from mlexpert.data.carve import Numbered, carve
from mlexpert.data.coverage import absent_labels, listed
from mlexpert.data.examples import Examples, Part
from mlexpert.data.fingerprint import split_fingerprint
from mlexpert.data.seal import Sealed
from mlexpert.data.tasks.coverage import refuse_absent_tasks
from mlexpert.errors import InputError

_PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Splits:
    """Data divided into parts.

    Attributes:
        train: Rows to fit on.
        validation: Rows to choose by.
        test: Sealed rows to report on once; None where `test=0` was asked for and the user brought
            none.
        how: A sentence that says how the parts came about.
        user_made: The parts that the user brought and that were kept as they were; "train" is named
            only where nothing was carved out of it.
        fingerprint: Names the data, in any division.
        split_fingerprint: Names this division.
        digests: (N, 2) row digests of each part.
        absent: For validation and test, the training labels of which they have no row; empty where
            numbers are predicted.
    """

    train: Examples
    validation: Examples
    test: Sealed | None
    how: str
    user_made: tuple[str, ...]
    fingerprint: str
    split_fingerprint: str
    digests: Mapping[str, np.ndarray]
    absent: Mapping[str, tuple]


@dataclass(frozen=True)
class Division:
    """Which rows are in which part: its source and the rows (N',) there, sorted; and how so."""

    rows: Mapping[str, tuple[str, np.ndarray]]
    how: str
    user_made: tuple[str, ...]


def split(
    parts: Mapping[str, Examples], *, validation: float = 0.15, test: float = 0.15, seed: int = 0
) -> Splits:
    """Divide rows into train, validation and a sealed test.

    Parts that the user brought are kept as they are, and only the missing ones are carved out of
    train. What is carved is stratified, by class, by the rarest label of a row or by quantiles of
    the target; rows of one group, and rows of equal content, land on one side. Where rows have
    times, the parts follow one another in time instead, rows of one time on one side; a later row
    whose content or group occurs in an earlier part then cannot be on both sides at once and is
    left out (`how` says how many). Rows of weight 0 take part, and are then left out of train.

    Args:
        parts: "all", or "train" with "validation" and "test" where the user has them.
        validation: Share of the divided rows to validate on, above 0.
        test: Share of the divided rows to seal; 0 for no test at all.
        seed: The division is a function of the rows, in their order, and this.

    Returns:
        The parts. Rows keep their order within a part.

    Raises:
        InputError: If there are no rows, labels or parts to divide; a fraction is out of range;
            there is one class only, a class with fewer distinct rows (or groups) than parts, or one
            that train lacks.
    """
    make = missing_parts(parts, validation, test)
    numbered = Numbered.of(parts)
    return put_together(numbered, divide(numbered, make, validation, test, seed))


def divide(
    numbered: Numbered, make: tuple[Part, ...], validation: float, test: float, seed: int
) -> Division:
    """Carve the parts `make` out of the undivided rows, and keep the others."""
    parts = numbered.parts
    pool = "all" if "all" in parts else "train"
    shares = {"validation": validation, "test": test}
    fractions = np.array([1 - sum(shares[name] for name in make), *(shares[name] for name in make)])
    names: tuple[Part, ...] = ("train", *make)
    index = np.arange(len(parts[pool]))
    dealt, notes = carve(numbered, pool, index, names, fractions, seed)
    rows: dict[str, tuple[str, np.ndarray]] = {
        name: (pool, np.flatnonzero(dealt == number)) for number, name in enumerate(names)
    }
    for name in _PARTS:
        if name in parts and name != pool:
            rows[name] = (name, np.arange(len(parts[name])))
    user_made = tuple(name for name in _PARTS if name in parts and (name != "train" or not make))
    how = _describe(user_made, make, shares, len(parts[pool]), pool, notes, seed)
    return Division(rows, how, user_made)


def put_together(numbered: Numbered, division: Division) -> Splits:
    """Make the parts of a division.

    Raises:
        InputError: If train lacks a label that another part has, all rows of train or validation
            have the weight 0, or a part has no row of one of a stream's tasks.
    """
    rows, how = dict(division.rows), division.how
    digests = {name: numbered.digests[source][index] for name, (source, index) in rows.items()}
    made = {
        name: _select(numbered.parts[source], index, name) for name, (source, index) in rows.items()
    }
    divided = split_fingerprint(made, digests)
    for name in ("train", "validation"):
        weights = made[name].weights
        if weights is not None and not weights.any():
            raise InputError(f"every row of {name} has the weight 0: weigh more rows above 0")
    weights = made["train"].weights
    if weights is not None and (weights == 0).any():
        kept = np.flatnonzero(weights)
        made["train"], digests["train"] = made["train"].select(kept), digests["train"][kept]
        rows["train"] = (rows["train"][0], rows["train"][1][kept])
        how += f"; {len(weights) - len(kept):,} rows of weight 0 left out of train"
    refuse_absent_tasks(made)
    present = {name: numbered.present[source][index] for name, (source, index) in rows.items()}
    return Splits(
        train=made["train"],
        validation=made["validation"],
        test=Sealed(made["test"], digests["test"], numbered.fingerprint)
        if "test" in made
        else None,
        how=how,
        user_made=division.user_made,
        fingerprint=numbered.fingerprint,
        split_fingerprint=divided,
        digests=digests,
        absent=absent_labels(present, numbered.labels, made["train"].objective),
    )


def missing_parts(
    parts: Mapping[str, Examples], validation: float, test: float
) -> tuple[Part, ...]:
    """Return the parts that are to be carved out of the user's rows.

    Raises:
        InputError: If there are no rows to divide, or a share is out of range.
    """
    allowed = ({"all"}, {"train"}, {"train", "validation"}, {"train", "test"}, set(_PARTS))
    if set(parts) not in allowed:
        raise InputError(
            f"the data has parts {', '.join(map(repr, parts)) or '(none)'}; give undivided rows, "
            "or 'train' with 'validation' and 'test' where there are any"
        )
    for name, part in parts.items():
        if not len(part):
            raise InputError(f"the data is empty: {name!r} has no rows")
    for name, share in (("validation", validation), ("test", test)):
        lowest_ok = share > 0 or (name == "test" and share == 0)
        if not (lowest_ok and share < 1):
            allowed_range = "above 0 (or 0 for no test)" if name == "test" else "above 0"
            raise InputError(
                f"{name}={share} is not a share of the rows: it must be {allowed_range} and below 1"
            )
    missing: list[Part] = []
    if "validation" not in parts:
        missing.append("validation")
    if "test" not in parts and test > 0:
        missing.append("test")
    if "validation" in missing and "test" in missing and validation + test >= 1:
        raise InputError(
            f"validation={validation} and test={test} leave no rows to train on: their sum must be "
            "below 1"
        )
    return tuple(missing)


def _select(rows: Examples, index: np.ndarray, part: str) -> Examples:
    """Mark the rows at `index` (N',), which is sorted, as those of a part; all of them uncopied."""
    marked = replace(rows, part=cast(Part, part))
    return marked if len(index) == len(rows) else marked.select(index)


def _describe(
    user_made: Sequence[str],
    make: Sequence[str],
    shares: Mapping[str, float],
    rows: int,
    pool: str,
    notes: Sequence[str],
    seed: int,
) -> str:
    phrases = []
    if user_made:
        phrases.append(f"the user's own {listed(user_made)}, kept as given")
    if make:
        carved = listed([f"{name} ({shares[name]:.0%})" for name in make])
        source = f"the {rows:,} rows" if pool == "all" else f"the {rows:,} rows of train"
        by_seed = "" if "in the order of time" in notes else f", seed {seed}"
        phrases.append(f"{carved} carved out of {source}: {', '.join(notes)}{by_seed}")
    if "test" not in make and "test" not in user_made:
        phrases.append("no test split")
    return "; ".join(phrases)
