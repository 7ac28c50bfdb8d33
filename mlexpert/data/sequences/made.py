"""Sequence tasks that are made here, so that a method's answers can be checked against a rule.

Every task returns (sources, targets), two lists of strings.
"""

from __future__ import annotations

import re
import string

import numpy as np

Task = tuple[list[str], list[str]]

LETTERS = string.ascii_lowercase


def reverse_task(num: int, *, max_length: int = 12, alphabet: str = LETTERS, seed: int = 0) -> Task:
    """Return random strings, and the same from behind.

    Args:
        num: Pairs.
        max_length: Letters of the longest; lengths from 1 on are equally frequent.
        alphabet: The letters.
        seed: Of the draw.
    """
    sources = _strings(num, max_length, alphabet, seed)
    return sources, [source[::-1] for source in sources]


def sort_task(num: int, *, max_length: int = 12, alphabet: str = LETTERS, seed: int = 0) -> Task:
    """Return random strings, and their letters in the order of the alphabet's characters.

    The arguments are those of `reverse_task`.
    """
    sources = _strings(num, max_length, alphabet, seed)
    return sources, ["".join(sorted(source)) for source in sources]


def grapheme_task(num: int, *, max_syllables: int = 4, seed: int = 0) -> Task:
    """Return made-up words as they are spelt, and as they sound by rules that look around.

    A word is syllables of an onset, a vowel and perhaps a coda. Its sounds, one character each,
    follow from left to right by these rules, pairs of letters before single ones:

    - ch is C, sh is S, th is T, ph is f, qu is kw, ck is k, ng is N;
    - c is s before e, i or y, else k; g is J before e, i or y, else g;
    - s between vowels is z; x is ks, but z where the word begins;
    - e at the end of the word behind a consonant is silent where a vowel stands before that
      consonant, and this vowel is then long: A, E, I, O, U for a, e, i, o, u;
    - ee and ea are E, oo is U, ai is A, oa is O; y is I at the end of the word, else i;
    - a consonant that is doubled sounds once; h behind a vowel is silent; others are themselves.

    Args:
        num: Pairs; some words may come twice.
        max_syllables: Syllables of the longest word.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    sources = [_word(rng, max_syllables) for _ in range(num)]
    return sources, [sounds_of(source) for source in sources]


_ONSETS = ["b", "c", "ch", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "ph", "qu", "r"]
_ONSETS += ["s", "sh", "t", "th", "v", "w", "x", "st", "tr", "pl", "gr", "cl"]
_VOWELS = ["a", "e", "i", "o", "u", "ee", "ea", "oo", "ai", "oa", "y"]
_CODAS = ["n", "l", "r", "s", "t", "ck", "ng", "m", "x", "ss", "ll", "h", "d", "g", "", "", ""]
_PAIRS = {"ch": "C", "sh": "S", "th": "T", "ph": "f", "qu": "kw", "ck": "k", "ng": "N"}
_PAIRS |= {"ee": "E", "ea": "E", "oo": "U", "ai": "A", "oa": "O"}


def sounds_of(word: str) -> str:
    """Return the sounds of a word of lower-case letters; see `grapheme_task` for the rules."""
    long = re.fullmatch(r"(.*[^aeiouy]|)([aeiou])([^aeiouyhxq])e", word)
    at_long = len(word) - 3 if long else -1
    sounds, place = [], 0
    while place < len(word):
        letter, after = word[place], word[place + 1 : place + 2]
        before = word[place - 1 : place] if place else ""
        if letter + after in _PAIRS:
            sounds.append(_PAIRS[letter + after])
            place += 2
            continue
        if place == at_long:
            sounds.append(letter.upper())
        elif not (long and place == len(word) - 1):
            sounds.append(_sound(letter, before, after))
        place += 1
    return "".join(sounds)


def _sound(letter: str, before: str, after: str) -> str:
    """Return the sound of a single letter between two others, "" at an end of the word."""
    vowels, soft = set("aeiouy"), after in set("eiy")
    if letter == before and letter not in vowels:
        return ""
    by_letter = {
        "c": "s" if soft else "k",
        "g": "J" if soft else "g",
        "s": "z" if before in vowels and after in vowels else "s",
        "x": "ks" if before else "z",
        "y": "i" if after else "I",
        "h": "" if before in vowels else "h",
    }
    return by_letter.get(letter, letter)


def _word(rng: np.random.Generator, max_syllables: int) -> str:
    syllables = []
    for _ in range(int(rng.integers(1, max_syllables + 1))):
        onset, vowel, coda = (rng.choice(part) for part in (_ONSETS, _VOWELS, _CODAS))
        syllables.append(f"{onset}{vowel}{coda}")
    silent = "e" if rng.random() < 0.3 else ""
    return "".join(syllables) + silent


def _strings(num: int, max_length: int, alphabet: str, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, max_length + 1, num)
    letters = np.array(list(alphabet))
    return ["".join(rng.choice(letters, length)) for length in lengths.tolist()]
