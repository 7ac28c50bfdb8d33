"""Edit distances against the recursion that defines them."""

from __future__ import annotations

import itertools
from functools import cache

from mlexpert.evidence.sequences.edit_distance import edits


@cache
def defined(a: str, b: str) -> int:
    if not a or not b:
        return len(a) + len(b)
    same = defined(a[1:], b[1:]) + (a[0] != b[0])
    return min(same, defined(a[1:], b) + 1, defined(a, b[1:]) + 1)


def test_equals_the_definition() -> None:
    words = ["".join(letters) for n in range(5) for letters in itertools.product("ab", repeat=n)]
    for a, b in itertools.product(words, repeat=2):
        assert edits(a, b) == defined(a, b)


def test_tokens_are_compared_whole() -> None:
    assert edits(["ab", "c"], ["a", "bc"]) == 2
    assert edits(("x",), ("x",)) == 0
