"""Words as numbers: what is known, what is not, and long words' two ends."""

from __future__ import annotations

import torch

from mlexpert.data.sequences.word_codes import (
    KEPT,
    UNKNOWN,
    WIDTH,
    character_kinds,
    describe_words,
    encode_words,
)

STATS = describe_words([("The", "cat", "the", "cat"), ("Cat", "sat", "x")])


def codes(*words: str) -> torch.Tensor:
    return encode_words([words], STATS).take(torch.tensor([0])).reshape(len(words), WIDTH)


def test_vocabulary_counts_without_capitals_and_keeps_them_in_characters() -> None:
    assert STATS.words == ("cat", "the")
    assert "T" not in STATS.characters and "t" in STATS.characters  # T occurs once
    assert (STATS.length_median, STATS.length_max) == (4, 4)


def test_words_have_ids_whatever_their_capitals() -> None:
    rows = codes("the", "THE", "cat", "sat")
    assert rows[0, 0] == rows[1, 0] != rows[2, 0]
    assert rows[3, 0] == UNKNOWN
    assert not torch.equal(rows[0, 1:], rows[1, 1:])


def test_marks_stand_at_both_ends() -> None:
    begin = 2 + len(STATS.characters)
    row = codes("cat")[0, 1:].tolist()
    assert row[0] == begin and row[4] == begin + 1 and row[5:] == [0] * (WIDTH - 6)


def test_long_words_lose_their_middle() -> None:
    first, last = "c" * KEPT, "t" * KEPT
    rows = codes(first + last, first + "aaaaa" + last)
    assert torch.equal(rows[0, 1:], rows[1, 1:])
    assert (rows[0] != 0).all()


def test_every_character_has_a_kind() -> None:
    stats = describe_words([("aB1é-@", "aB1é-@")], min_count=1)
    kinds = character_kinds(stats)
    by_letter = dict(zip(stats.characters, kinds[2:], strict=False))
    assert len(kinds) == 4 + len(stats.characters)
    assert by_letter["a"] == by_letter["é"] != by_letter["B"]
    assert len({by_letter[letter] for letter in "aB1-@"}) == 5


def test_sentences_without_words_are_empty_rows() -> None:
    store = encode_words([(), ("cat",), ()], STATS)
    assert store.offsets.diff().tolist() == [0, WIDTH, 0]
