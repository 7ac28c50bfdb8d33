"""Divide data into train, validation and a sealed test, or keep the user's own division."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from mlexpert.data.chronology import cut_by_time
from mlexpert.data.coverage import (
    absent_classes,
    check_parts,
    check_units,
    listed,
    number_classes,
)
from mlexpert.data.examples import Examples, Part
from mlexpert.data.fingerprint import fingerprint, number_rows, row_digests, split_fingerprint
from mlexpert.data.seal import Sealed
from mlexpert.data.stratify import deal, link_rows, number_groups
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
        absent: For validation and test, the training labels of which they have no row.
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


def split(
    parts: Mapping[str, Examples], *, validation: float = 0.15, test: float = 0.15, seed: int = 0
) -> Splits:
    """Divide rows into train, validation and a sealed test.

    Parts that the user brought are kept as they are, and only the missing ones are carved out of
    train. What is carved is stratified by class; rows of one group, and rows of equal content, land
    on one side. Where rows have times, the parts follow one another in time instead, rows of one
    time on one side; a later row whose content or group occurs in an earlier part then cannot be on
    both sides at once and is left out (`how` says how many).

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
    pool, make = _plan(parts, validation, test)
    classes, labels = number_classes(parts)
    digests = {name: row_digests(part) for name, part in parts.items()}
    whole = fingerprint(parts, digests)
    shares = {"validation": validation, "test": test}
    fractions = np.array([1 - sum(shares[name] for name in make), *(shares[name] for name in make)])
    names: tuple[Part, ...] = ("train", *make)
    dealt, notes = _carve(parts[pool], digests[pool], classes[pool], labels, names, fractions, seed)
    rows: dict[str, tuple[str, np.ndarray]] = {
        name: (pool, np.flatnonzero(dealt == number)) for number, name in enumerate(names)
    }
    for name in _PARTS:
        if name in parts and name != pool:
            rows[name] = (name, np.arange(len(parts[name])))
    made = {name: _select(parts[source], index, name) for name, (source, index) in rows.items()}
    part_digests = {name: digests[source][index] for name, (source, index) in rows.items()}
    absent = absent_classes(
        {name: classes[source][index] for name, (source, index) in rows.items()}, labels
    )
    user_made = tuple(name for name in _PARTS if name in parts and (name != "train" or not make))
    return Splits(
        train=made["train"],
        validation=made["validation"],
        test=Sealed(made["test"], part_digests["test"], whole) if "test" in made else None,
        how=_describe(user_made, make, shares, len(parts[pool]), pool, notes, seed),
        user_made=user_made,
        fingerprint=whole,
        split_fingerprint=split_fingerprint(made, part_digests),
        digests=part_digests,
        absent=absent,
    )


def _plan(
    parts: Mapping[str, Examples], validation: float, test: float
) -> tuple[str, tuple[Part, ...]]:
    """Return the part to divide and the parts to carve out of it."""
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
    return ("all" if "all" in parts else "train"), tuple(missing)


def _select(rows: Examples, index: np.ndarray, part: str) -> Examples:
    """Mark the rows at `index` (N',), which is sorted, as those of a part; all of them uncopied."""
    marked = replace(rows, part=cast(Part, part))
    return marked if len(index) == len(rows) else marked.select(index)


def _carve(
    rows: Examples,
    digests: np.ndarray,
    classes: np.ndarray,
    labels: Sequence[str],
    names: tuple[Part, ...],
    fractions: np.ndarray,
    seed: int,
) -> tuple[np.ndarray, list[str]]:
    """Deal the rows (N,) to the numbers of `names`, -1 for left out; and say how, in phrases."""
    if len(names) == 1:
        return np.zeros(len(rows), dtype=np.int64), []
    contents = number_rows(digests)[0]
    groups = None if rows.groups is None else number_groups(rows.groups)
    present, codes = np.unique(classes, return_inverse=True)
    shown = [labels[number] for number in present]
    units = link_rows(contents, groups)
    repeated = len(rows) - int(contents.max()) - 1
    if rows.times is not None:
        dealt, left_out = cut_by_time(rows.times, contents, groups, fractions)
        notes = ["in the order of time"]
        if left_out:
            notes.append(
                f"{left_out:,} later rows left out whose content or group occurs in an earlier part"
            )
        check_parts(dealt, codes, shown, names, by_time=True)
        return dealt, notes
    check_units(units, codes, shown, names, grouped=groups is not None)
    dealt = deal(units, codes, fractions, np.random.default_rng(seed))
    check_parts(dealt, codes, shown, names, by_time=False)
    notes = ["stratified by class"]
    if groups is not None:
        notes.append("each group whole")
    notes.append(f"exact duplicates on one side ({repeated:,} rows repeat another)")
    return dealt, notes


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
