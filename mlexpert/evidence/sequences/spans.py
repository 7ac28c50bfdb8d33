"""Entities as spans of tags: what is counted where tags mark beginnings and insides.

Tags are "O" or a prefix B, I, E or S with a type behind a hyphen ("B-person"). A span is read
leniently, as the evaluation script of CoNLL-2000 does (Tjong Kim Sang and Buchholz 2000): it begins
at B or S, where the type changes, and at any tag behind an O, an E or an S; so an I may begin one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np

Span = tuple[str, int, int]
"""Type, first word, and the word behind the last."""

_MARK = re.compile(r"O|[BIES](-.*)?", re.DOTALL)


def mark_spans(tags: Collection[str]) -> bool:
    """Return whether a set of tags marks spans: "O", and nothing but prefixed types besides."""
    return "O" in tags and len(tags) > 1 and all(_MARK.fullmatch(tag) for tag in tags)


def spans_of(tags: Sequence[str]) -> list[Span]:
    """Return the spans of a sentence's tags, in their order.

    Example:
        >>> spans_of(["B-person", "I-person", "O", "I-place"])
        [('person', 0, 2), ('place', 3, 4)]
    """
    parts = [("O", "")] + [_parted(tag) for tag in tags] + [("O", "")]
    spans: list[Span] = []
    begun = 0
    for place, (before, here) in enumerate(pairwise(parts)):
        begins = here[0] != "O" and (here[0] in "BS" or before[0] in "OES" or before[1] != here[1])
        if before[0] != "O" and (here[0] == "O" or begins):
            spans.append((before[1], begun, place))
        if begins:
            begun = place
    return spans


def _parted(tag: str) -> tuple[str, str]:
    """Return the prefix of a tag, and its type."""
    return tag[:1], tag[1:].removeprefix("-") or "_"


def count_spans(
    true: Sequence[Sequence[str]], said: Sequence[Sequence[str]]
) -> dict[str, np.ndarray]:
    """Return spans (N,) by sentence: "found" rightly, "given" by the model, and "true" ones.

    Args:
        true: The tags of N sentences.
        said: What a model says, of the same lengths.
    """
    pairs = [(set(spans_of(a)), set(spans_of(b))) for a, b in zip(true, said, strict=True)]
    return {
        "found": np.array([len(a & b) for a, b in pairs], dtype=np.float64),
        "given": np.array([len(b) for _, b in pairs], dtype=np.float64),
        "true": np.array([len(a) for a, _ in pairs], dtype=np.float64),
    }
