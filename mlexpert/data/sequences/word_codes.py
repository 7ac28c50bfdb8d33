"""Words as numbers: an id for each word, and the characters that it is written with.

What a model has not met as a word it still reads by its characters: capitals, digits, endings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import torch

from mlexpert.data.batches import RaggedStore
from mlexpert.data.sequences.statistics import WordStats

PAD, UNKNOWN, FIRST = 0, 1, 2
KEPT = 12
"""Characters that are read at either end of a word; what is longer loses its middle."""
WIDTH = 1 + 2 + 2 * KEPT
"""Numbers of a word: its id, then a mark, its characters, a mark, and padding."""


def describe_words(sentences: Sequence[tuple[str, ...]], *, min_count: int = 2) -> WordStats:
    """Return the vocabulary of training sentences.

    Words are counted without their capitals, which their characters keep.

    Args:
        sentences: Of the train split.
        min_count: Fewest occurrences of a word that has an id of its own. Rarer ones are met as
            unknown, so that a model learns what to do with those.
    """
    counts = Counter(word.lower() for word in chain.from_iterable(sentences))
    letters: Counter[str] = Counter()
    for word, count in Counter(chain.from_iterable(sentences)).items():
        for letter in word:
            letters[letter] += count
    lengths = [len(sentence) for sentence in sentences]
    return WordStats(
        words=_by_count(counts, min_count),
        characters=_by_count(letters, min_count),
        length_median=round(float(np.median(lengths))),
        length_max=max(lengths),
    )


def character_kinds(stats: WordStats) -> list[int]:
    """Return the kind of each character id: what is alike in words that were not met.

    0 is padding, 1 unknown, 2 lower case, 3 upper case, 4 a digit, 5 another letter; the marks of a
    word's ends, and all other characters, are each a kind of their own.
    """
    kinds = [0, 1]
    for number, letter in enumerate(stats.characters, start=FIRST):
        tests = (letter.islower(), letter.isupper(), letter.isdigit(), letter.isalpha())
        kinds.append(2 + tests.index(True) if any(tests) else 6 + number)
    ends = 6 + len(kinds)
    return [*kinds, ends, ends + 1]


def _by_count(counts: Counter[str], fewest: int) -> tuple[str, ...]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(value for value, count in ordered if count >= fewest)


def encode_words(sentences: Iterable[tuple[str, ...]], stats: WordStats) -> RaggedStore:
    """Return sentences as one row each of `WIDTH` numbers a word, end to end.

    Args:
        sentences: Tuples of words.
        stats: Of the training sentences.
    """
    word_ids = {word: number for number, word in enumerate(stats.words, start=FIRST)}
    letter_ids = {letter: number for number, letter in enumerate(stats.characters, start=FIRST)}
    begin = FIRST + len(stats.characters)
    known: dict[str, np.ndarray] = {}
    rows, lengths = [], []
    for sentence in sentences:
        for word in sentence:
            if word not in known:
                known[word] = _codes(word, word_ids, letter_ids, begin)
            rows.append(known[word])
        lengths.append(len(sentence) * WIDTH)
    tokens = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int32)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    return RaggedStore(torch.from_numpy(tokens), offsets)


def _codes(
    word: str, word_ids: dict[str, int], letter_ids: dict[str, int], begin: int
) -> np.ndarray:
    """Return the numbers (WIDTH,) of a word."""
    letters = word if len(word) <= 2 * KEPT else word[:KEPT] + word[-KEPT:]
    codes = np.zeros(WIDTH, dtype=np.int32)
    codes[0] = word_ids.get(word.lower(), UNKNOWN)
    codes[1] = begin
    codes[2 : 2 + len(letters)] = [letter_ids.get(letter, UNKNOWN) for letter in letters]
    codes[2 + len(letters)] = begin + 1
    return codes
