"""How far one sequence is from another."""

from __future__ import annotations

from collections.abc import Sequence


def edits(said: Sequence[object], true: Sequence[object]) -> int:
    """Return the fewest insertions, deletions and replacements that make one of the other.

    Paper: Levenshtein 1966; computed row by row (Wagner and Fischer 1974).

    Example:
        >>> edits("kitten", "sitting")
        3
    """
    if said == true:
        return 0
    row = list(range(len(true) + 1))
    for number, here in enumerate(said, start=1):
        before, row = row, [number]
        for column, there in enumerate(true, start=1):
            replaced = before[column - 1] + (here != there)
            row.append(min(replaced, before[column] + 1, row[-1] + 1))
    return row[-1]
