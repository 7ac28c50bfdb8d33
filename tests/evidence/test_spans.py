"""Spans of tags against seqeval's answers, and by hand where that is not installed."""

from __future__ import annotations

import itertools

import pytest

from mlexpert.evidence.sequences.spans import count_spans, mark_spans, spans_of

BY_HAND = {
    "B-a I-a O I-b": [("a", 0, 2), ("b", 3, 4)],
    "B-a B-a": [("a", 0, 1), ("a", 1, 2)],
    "I-a I-b I-b": [("a", 0, 1), ("b", 1, 3)],
    "B-a I-b": [("a", 0, 1), ("b", 1, 2)],
    "S-a S-a E-a": [("a", 0, 1), ("a", 1, 2), ("a", 2, 3)],
    "B-a E-a I-a": [("a", 0, 2), ("a", 2, 3)],
    "B-a I-a E-a O": [("a", 0, 3)],
    "E-a E-a": [("a", 0, 1), ("a", 1, 2)],
    "O O": [],
    "": [],
    "B I O": [("_", 0, 2)],
    "B-a-b I-a-b": [("a-b", 0, 2)],
}


@pytest.mark.parametrize("tags", BY_HAND)
def test_spans_by_hand(tags: str) -> None:
    assert spans_of(tags.split()) == BY_HAND[tags]


def test_spans_equal_those_of_seqeval() -> None:
    labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    kinds = ["O", *(f"{mark}-{kind}" for mark in "BIES" for kind in "xy")]
    for tags in itertools.product(kinds, repeat=4):
        theirs = [
            (kind, first, last + 1) for kind, first, last in labeling.get_entities(list(tags))
        ]
        assert spans_of(tags) == theirs, tags


def test_every_word_of_a_span_is_in_one_span() -> None:
    kinds = ["O", "B-x", "I-x", "I-y", "E-x", "S-y"]
    for tags in itertools.product(kinds, repeat=4):
        covered = [place for _, first, behind in spans_of(tags) for place in range(first, behind)]
        assert covered == [place for place, tag in enumerate(tags) if tag != "O"]
        assert all(
            tags[place][2:] == kind
            for kind, first, behind in spans_of(tags)
            for place in range(first, behind)
        )


def test_counts_by_sentence() -> None:
    true = [["B-a", "I-a", "O"], ["B-b", "O", "B-a"], ["O"]]
    said = [["B-a", "O", "O"], ["B-b", "O", "B-a"], ["B-a"]]
    counts = count_spans(true, said)
    assert counts["found"].tolist() == [0, 2, 0]
    assert counts["given"].tolist() == [1, 2, 1]
    assert counts["true"].tolist() == [1, 2, 0]


def test_parts_of_speech_mark_no_spans() -> None:
    assert mark_spans(["O", "B-x", "I-x"])
    assert not mark_spans(["NOUN", "VERB", "O"])
    assert not mark_spans(["B-x", "I-x"])
    assert not mark_spans(["O"])
