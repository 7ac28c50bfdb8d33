"""Sentences with a tag for each word, from whatever a user holds them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlexpert.data.arrays import is_sequence
from mlexpert.data.columns import Columns
from mlexpert.data.examples import Examples
from mlexpert.data.nearest import did_you_mean, listing
from mlexpert.data.sequences.conll import CONLL, read_conll
from mlexpert.data.sources import SPLITS, load
from mlexpert.errors import InputError

_WORD_NAMES = ("tokens", "words", "sentence", "text", "x")
_TAG_NAMES = ("tags", "labels", "ner_tags", "pos_tags", "upos", "pos", "ner", "target", "y")


@dataclass(frozen=True)
class _Lists:
    """Rows as a source holds them: words, tags where there are any, and the columns' names."""

    words: list[Any]
    tags: list[Any] | None
    names: tuple[str, str | None]
    class_names: Mapping[int, str] | None = None


def read_sentences(
    ds: Any, *, target: str | None = None, inputs: str | None = None
) -> dict[str, Examples]:
    """Read sentences with their tags, by split.

    Sentences without a word are left out, and a note says how many.

    Args:
        ds: A `DataFrame`, a `datasets.Dataset` or a parquet file with a column of lists of words
            and one of lists of tags; a file of one word a line (.conll, .txt, .bio, .iob) whose
            last column is the tag, with an empty line between sentences; a pair (X, y) of lists of
            lists; or a dict of such by split.
        target: The column of tags. None: the one whose classes are declared, or one of a usual
            name, or the only one left.
        inputs: The column of words; None: one of a usual name, or the only one of lists of strings.

    Returns:
        {"all": examples}, or "train" with any of "validation" and "test".

    Raises:
        InputError: If the data is of another form; if words are no strings, or a sentence has more
            or fewer tags than words: the row is named.
    """
    if isinstance(ds, Mapping):
        parts = _by_split(ds)
        read = {
            name: _examples(_lists(part, target, inputs), f"the {name} split, ")
            for name, part in parts.items()
        }
        return read if len(read) > 1 else {"all": read["train"]}
    return {"all": _examples(_lists(ds, target, inputs), "")}


def word_lists(x: Any) -> np.ndarray:
    """Return sentences to predict as an object array (N,) of tuples of words.

    Raises:
        InputError: If they are no list of lists of strings; the row is named.
    """
    if isinstance(x, str) or not is_sequence(x):
        raise InputError(f"a list of sentences is needed, each a list of words, not {x!r:.80}.")
    rows = [_words_of(row, f"row {number}") for number, row in enumerate(x)]
    return _object_array(rows)


def _by_split(ds: Mapping[Any, Any]) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for key, value in ds.items():
        name = SPLITS.get(str(key).lower())
        if name is None or name in parts:
            raise InputError(
                f"the splits are {listing(ds)}; give 'train' and any of 'validation' and 'test'."
            )
        parts[name] = value
    if "train" not in parts:
        raise InputError(f"there is no split 'train', but {listing(ds)}.")
    return parts


def _lists(ds: Any, target: str | None, inputs: str | None) -> _Lists:
    if isinstance(ds, str | Path) and Path(ds).suffix.lower() in CONLL:
        words, tags = read_conll(Path(ds).expanduser())
        return _Lists(words, tags, ("words", "tags"))
    if isinstance(ds, tuple) and len(ds) == 2 and is_sequence(ds[0]) and is_sequence(ds[1]):
        if len(ds[0]) != len(ds[1]):
            raise InputError(f"X has {len(ds[0])} sentences and y has {len(ds[1])}.")
        return _Lists(list(ds[0]), list(ds[1]), ("x", "y"))
    if is_sequence(ds):
        raise InputError("sentences without tags: give the pair (X, y), or a table.")
    loaded = load(ds, target=None, for_prediction=False)
    if list(loaded) != ["all"]:
        raise InputError(f"the data holds splits itself: {listing(loaded)}.")
    return _of_columns(loaded["all"], target, inputs)


def _of_columns(columns: Columns, target: str | None, inputs: str | None) -> _Lists:
    """Choose the two columns of lists."""
    held = {name: columns.values(name) for name in columns.label_sets}
    if not held:
        raise InputError(
            f"no column holds lists, of {listing(columns.order)}: a sentence is a list of words, "
            "e.g. text.split(), with a list of as many tags."
        )
    for role, name in (("target", target), ("inputs", inputs)):
        if name is not None and name not in held:
            hint = did_you_mean(name, list(held))
            raise InputError(f"{role}={name!r} is no column of lists; those are {listing(held)}."
                             f"{hint}")  # fmt: skip
    declared = [name for name in held if name in columns.class_names and name != inputs]
    if target is None and len(declared) == 1:
        target = declared[0]
    strings = [name for name in held if _holds_strings(held[name]) and name != target]
    words = inputs or _one_of(strings, _WORD_NAMES)
    if words is None:
        raise InputError(f"which column holds the words? Name it with inputs=: {listing(held)}.")
    target = target or _one_of([name for name in held if name != words], _TAG_NAMES)
    if target is None:
        raise InputError(f"which column holds the tags? Name it with target=: {listing(held)}.")
    return _Lists(held[words], held[target], (words, target), columns.class_names.get(target))


def _one_of(names: Sequence[str], usual: Sequence[str]) -> str | None:
    if len(names) == 1:
        return names[0]
    return next((name for name in usual if name in names), None)


def _holds_strings(rows: list[Any]) -> bool:
    first = next((row for row in rows if row is not None and len(row)), None)
    return first is not None and isinstance(first[0], str)


def _examples(lists: _Lists, where: str) -> Examples:
    """Check every row, and leave out those without words."""
    if lists.tags is None or not lists.words:
        raise InputError(f"{where}there are no sentences with tags.")
    words, tags, empty = [], [], 0
    for number, (row, said) in enumerate(zip(lists.words, lists.tags, strict=True)):
        place = f"{where}row {number}"
        sentence = _words_of(row, place)
        marks = _tags_of(said, place, lists.class_names)
        if len(sentence) != len(marks):
            raise InputError(
                f"{place} has {len(sentence)} words and {len(marks)} tags; give one for each."
            )
        if not sentence:
            empty += 1
            continue
        words.append(sentence)
        tags.append(marks)
    if not words:
        raise InputError(f"{where}no sentence has a word.")
    examples = Examples(
        kind="words",
        inputs=_object_array(words),
        targets=_object_array(tags),
        objective="tags",
        target_name=lists.names[1],
        input_names=(lists.names[0],),
    )
    if empty:
        return replace(examples, notes=(f"{where}{empty:,} sentences without a word left out",))
    return examples


def _words_of(row: Any, place: str) -> tuple[str, ...]:
    if isinstance(row, str) or not is_sequence(row):
        raise InputError(
            f"{place} is {row!r:.80}; a sentence is a list of words, e.g. text.split()."
        )
    for word in row:
        if not isinstance(word, str):
            raise InputError(f"{place} has the word {word!r}, which is no string.")
    return tuple(str(word) for word in row)


def _tags_of(row: Any, place: str, names: Mapping[int, str] | None) -> tuple[str, ...]:
    if isinstance(row, str) or not is_sequence(row):
        raise InputError(f"{place} has the tags {row!r:.80}; give a list of them, one a word.")
    tags = []
    for value in row:
        tag = value.item() if isinstance(value, np.generic) else value
        if names is not None and isinstance(tag, int):
            tag = names.get(tag)
        if tag is None or isinstance(tag, float) or not isinstance(tag, str | int):
            raise InputError(f"{place} has the tag {value!r}: give strings, or whole numbers.")
        tags.append(str(tag))
    return tuple(tags)


def _object_array(rows: list[Any]) -> np.ndarray:
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array
