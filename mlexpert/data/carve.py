"""Carve parts out of rows: in strata, or by time, with groups and equal rows whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mlexpert.data.chronology import cut_by_time
from mlexpert.data.coverage import check_parts, check_units, number_labels
from mlexpert.data.examples import Examples
from mlexpert.data.fingerprint import fingerprint, number_rows, row_digests
from mlexpert.data.strata import STRATIFIED, keep_in_first, strata
from mlexpert.data.stratify import deal, link_rows, number_groups


@dataclass(frozen=True)
class Numbered:
    """The rows of all parts that a user brought, and what divides them.

    Attributes:
        parts: The rows by part.
        digests: (N, 2) row digests of each part.
        present: (N, K) which classes or labels the rows of each part have.
        labels: (K,) the labels as messages show them.
        fingerprint: Names the data.
    """

    parts: Mapping[str, Examples]
    digests: Mapping[str, np.ndarray]
    present: Mapping[str, sparse.csr_matrix]
    labels: Sequence[str]
    fingerprint: str

    @classmethod
    def of(cls, parts: Mapping[str, Examples]) -> Numbered:
        """Number rows and labels of all parts together.

        Raises:
            InputError: If there are no targets, or one class only.
        """
        present, labels = number_labels(parts)
        digests = {name: row_digests(part) for name, part in parts.items()}
        return cls(parts, digests, present, labels, fingerprint(parts, digests))


def carve(
    numbered: Numbered,
    pool: str,
    index: np.ndarray,
    names: Sequence[str],
    fractions: np.ndarray,
    seed: int | Sequence[int],
) -> tuple[np.ndarray, list[str]]:
    """Deal the rows at `index` (N,) of a part to the numbers of `names`, and say how.

    Returns:
        (N,) number of the part of each row, -1 where it is left out; and how, in phrases.

    Raises:
        InputError: If a class has too few distinct rows (or groups) for so many parts.
    """
    if len(names) == 1:
        return np.zeros(len(index), dtype=np.int64), []
    rows, present = numbered.parts[pool], numbered.present[pool]
    if len(index) < len(rows):
        rows, present = rows.select(index), present[index]
    contents = number_rows(numbered.digests[pool][index])[0]
    groups = None if rows.groups is None else number_groups(rows.groups)
    if rows.times is not None:
        dealt, left_out = cut_by_time(rows.times, contents, groups, fractions)
        notes = ["in the order of time"]
        if left_out:
            notes.append(
                f"{left_out:,} later rows left out whose content or group occurs in an earlier part"
            )
    else:
        units = link_rows(contents, groups)
        check_units(units, rows, present, numbered.labels, names)
        dealt = _deal(rows, present, units, names, fractions, np.random.default_rng(seed))
        repeated = len(rows) - int(contents.max()) - 1
        whole = [] if groups is None else ["each group whole"]
        duplicates = f"exact duplicates on one side ({repeated:,} rows repeat another)"
        notes = [STRATIFIED[rows.objective], *whole, duplicates]
    check_parts(dealt, rows, present, numbered.labels, names)
    return dealt, notes


def _deal(
    rows: Examples,
    present: sparse.csr_matrix,
    units: np.ndarray,
    names: Sequence[str],
    fractions: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Deal units to parts in strata; every label that has rows has some in train."""
    codes = strata(rows, present, units, len(names))
    several = rows.objective == "multilabel"
    dealt = deal(units, codes, fractions, rng, present if several else None)
    if several and names[0] == "train":
        keep_in_first(dealt, units, present)
    return dealt
