"""Folds for ensembles: the rows that are not test, each validated on once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mlexpert.data.carve import Numbered, carve
from mlexpert.data.coverage import listed
from mlexpert.data.examples import Examples
from mlexpert.data.splits import Division, Splits, divide, missing_parts, put_together
from mlexpert.errors import InputError


@dataclass(frozen=True)
class Fold:
    """One division of the rows that are not test into train and validation.

    Attributes:
        splits: The parts; all folds share the sealed test.
        validation_rows: (N',) where the rows of validation stand among all rows that are not test,
            in their original order.
    """

    splits: Splits
    validation_rows: np.ndarray


def fold_splits(
    parts: Mapping[str, Examples], *, folds: int, validation: float, test: float, seed: int
) -> list[Fold]:
    """Seal the test rows that `split` would, and deal the others into folds.

    Fold i validates on part i and trains on the others. The parts are stratified, with groups and
    equal rows whole, as those of `split` are.

    Args:
        parts: "all", or "train" with "test" where the user has one.
        folds: How many, from 2.
        validation: The share that a plain split would validate on; it decides which rows are test.
        test: Share of the divided rows to seal; 0 for no test at all.
        seed: As for `split`.

    Raises:
        InputError: If `split` would refuse the rows, the user brought a validation split, rows have
            times, or a class has fewer distinct rows (or groups) than there are folds.
    """
    _refuse(parts, folds)
    numbered = Numbered.of(parts)
    plain = divide(numbered, missing_parts(parts, validation, test), validation, test, seed)
    pool = plain.rows["train"][0]
    pooled = np.sort(np.concatenate([plain.rows[part][1] for part in ("train", "validation")]))
    names = [f"fold {number}" for number in range(1, folds + 1)]
    shares = np.full(folds, 1 / folds)
    dealt, notes = carve(numbered, pool, pooled, names, shares, (seed, folds))
    _refuse_lone_labels(numbered, pool, pooled, dealt)
    sealed = {name: rows for name, rows in plain.rows.items() if name == "test"}
    made: list[Fold] = []
    for number, name in enumerate(names):
        rows = {
            "train": (pool, pooled[dealt != number]),
            "validation": (pool, pooled[dealt == number]),
            **sealed,
        }
        how = (
            f"{name} of {folds} to validate on, of the {len(pooled):,} rows that are not test, "
            f"{', '.join(notes)}, seed {seed}; before that: {plain.how}"
        )
        user_made = tuple(part for part in plain.user_made if part == "test")
        splits = put_together(numbered, Division(rows, how, user_made))
        if made:
            splits = replace(splits, test=made[0].splits.test)
        made.append(Fold(splits, np.flatnonzero(dealt == number)))
    return made


def _refuse(parts: Mapping[str, Examples], folds: int) -> None:
    if isinstance(folds, bool) or not isinstance(folds, int | np.integer) or folds < 2:
        raise InputError(f"folds={folds!r}; it takes a whole number from 2")
    if "validation" in parts:
        raise InputError(
            "folds= makes its own validation rows, and the data brings a validation split: join it "
            "with train, or leave folds= out"
        )
    times = [name for name, part in parts.items() if part.times is not None]
    if times:
        raise InputError(
            "folds= deals rows at random, which time= forbids: later rows would teach about "
            f"earlier ones ({listed(times)} has times). Leave one of the two out"
        )


def _refuse_lone_labels(
    numbered: Numbered, pool: str, pooled: np.ndarray, dealt: np.ndarray
) -> None:
    """Raise an error where a label is in one fold only: the model that trains without it differs.

    Classes are in every fold.
    """
    present = numbered.present[pool][pooled]
    folds = np.repeat(dealt, np.diff(present.indptr))
    pairs = np.unique(np.stack([present.indices, folds], axis=1), axis=0)
    in_folds = np.bincount(pairs[:, 0], minlength=present.shape[1])
    lone = np.flatnonzero(in_folds == 1)
    if len(lone):
        rows = np.bincount(present.indices, minlength=present.shape[1])
        shown = ", ".join(f"{numbered.labels[k]} ({rows[k]} rows)" for k in lone[:10])
        raise InputError(
            f"labels are in one fold only: {shown}. The model that validates on it would not know "
            "them: add rows, drop the label, or leave folds= out"
        )
