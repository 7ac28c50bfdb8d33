"""Pairs of sequences from every form, symbols as numbers, and the tasks that are made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest

from mlexpert.data.sequences.made import grapheme_task, reverse_task, sort_task, sounds_of
from mlexpert.data.sequences.symbols import (
    END,
    UNKNOWN,
    describe_symbols,
    encode_symbols,
    padded,
    symbols_in,
)
from mlexpert.data.sequences.transduction_pairs import read_pairs, sequences_of
from mlexpert.errors import InputError

SOURCES, TARGETS = ["ab", "", "c d"], ["ba", "x", ""]


def csv(folder: Path) -> Path:
    path = folder / "rows.csv"
    pd.DataFrame({"source": ["1", "02"], "target": ["1", "20"]}).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    "data",
    [
        (SOURCES, TARGETS),
        pd.DataFrame({"target": TARGETS, "source": SOURCES, "id": [1, 2, 3]}),
        pd.DataFrame({"here": SOURCES, "y": TARGETS}),
        datasets.Dataset.from_dict({"input": SOURCES, "output": TARGETS}),
    ],
)
def test_forms_say_the_same(data: Any) -> None:
    rows = read_pairs(data, unit="characters")["all"]
    assert [list(row) for row in rows.inputs] == [["a", "b"], [], ["c", " ", "d"]]
    assert rows.targets is not None and rows.targets.tolist() == TARGETS


def test_words_and_lists() -> None:
    rows = read_pairs((["the cat", "a"], [["x", "yz"], []]), unit="words")["all"]
    assert rows.inputs[0] == ("the", "cat")
    assert rows.targets is not None and rows.targets[0] == ("x", "yz")


def test_digits_of_a_file_stay_text(tmp_path: Path) -> None:
    rows = read_pairs(csv(tmp_path), unit="characters")["all"]
    assert rows.inputs[1] == ("0", "2")


WRONG: dict[str, tuple[Any, str]] = {
    "lengths": ((["a"], ["b", "c"]), "1 sources and 2 targets"),
    "number": ((["a", 3], ["b", "c"]), "row 1: the source is 3"),
    "missing": ((["a"], [None]), "row 0: the target is None"),
    "mixed": ((["a", "b"], ["b", ["c"]]), "some targets are strings"),
    "nothing": (([], []), "there are no pairs"),
    "no targets": (["a", "b"], "sources without targets"),
    "which": (pd.DataFrame({"u": ["a"], "v": ["b"], "w": ["c"]}), "which column"),
    "split": ({"train": (SOURCES, TARGETS), "more": (SOURCES, TARGETS)}, "the splits are"),
    "no train": ({"test": (SOURCES, TARGETS)}, "no split 'train'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_refused(case: str) -> None:
    data, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        read_pairs(data, unit="characters")


def test_sources_to_predict() -> None:
    assert sequences_of(["ab", ""], "characters").tolist() == [("a", "b"), ()]
    with pytest.raises(InputError, match="a list of sources"):
        sequences_of("ab", "characters")


def test_symbols_there_and_back() -> None:
    rows = [("a", "b", "a"), ("c",), ()]
    stats = describe_symbols(rows, are_strings=True)
    assert symbols_in(stats) == ["a", "b", "c"] and stats.vocab_size == 6
    store = encode_symbols([("b", "z"), ()], stats)
    assert store.tokens.tolist() == [4, UNKNOWN, END, END]
    assert padded([("b",), ("a", "c")], stats, -1).tolist() == [[4, END, -1], [3, 5, END]]


def test_made_tasks_follow_their_rules() -> None:
    sources, targets = reverse_task(50)
    assert targets == [source[::-1] for source in sources]
    assert {len(source) for source in sources} <= set(range(1, 13))
    sources, targets = sort_task(50, seed=1)
    assert [sorted(source) for source in sources] == [list(target) for target in targets]
    assert reverse_task(5) == reverse_task(5) != reverse_task(5, seed=1)
    sources, targets = grapheme_task(300)
    assert targets == [sounds_of(source) for source in sources] and all(targets)


@pytest.mark.parametrize(
    ("word", "sounds"),
    [
        ("cake", "kAk"),
        ("cell", "sel"),
        ("gem", "Jem"),
        ("rose", "rOz"),
        ("phone", "fOn"),
        ("queen", "kwEn"),
        ("tack", "tak"),
        ("box", "boks"),
        ("xi", "zi"),
        ("happy", "hapI"),
        ("shy", "SI"),
        ("be", "be"),
    ],
)
def test_sounds_by_hand(word: str, sounds: str) -> None:
    assert sounds_of(word) == sounds
