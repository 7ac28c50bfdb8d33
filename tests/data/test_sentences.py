"""Sentences with tags from every form that they are held in; what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from mlexpert.data.examples import Examples
from mlexpert.data.sequences.sentences import read_sentences, word_lists
from mlexpert.errors import InputError

WORDS = [["The", "cat", "sleeps"], ["Rome"], ["It", "rains"]]
TAGS = [["D", "N", "V"], ["N"], ["P", "V"]]
CONLL = (
    "-DOCSTART- -X- O\n\n# text\nThe x D\ncat x N\nsleeps x V\n\n\nRome x N\n\nIt x P\nrains x V"
)


def parquet(folder: Path) -> Path:
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "tokens": datasets.List(datasets.Value("string")),
            "upos": datasets.List(datasets.ClassLabel(names=["D", "N", "P", "V"])),
            "xpos": datasets.List(datasets.Value("string")),
        }
    )
    numbers = [["DNPV".index(tag) for tag in row] for row in TAGS]
    rows = {"id": list("abc"), "tokens": WORDS, "upos": numbers, "xpos": TAGS}
    path = folder / "rows.parquet"
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    return path


def conll(folder: Path, name: str = "rows.conll", text: str = CONLL) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


FORMS = {
    "pair": lambda folder: (WORDS, TAGS),
    "arrays": lambda folder: ([np.array(row) for row in WORDS], TAGS),
    "frame": lambda folder: pd.DataFrame({"tags": TAGS, "words": WORDS, "id": [1, 2, 3]}),
    "dataset": lambda folder: datasets.Dataset.from_dict({"tokens": WORDS, "ner_tags": TAGS}),
    "parquet": parquet,
    "path as text": lambda folder: str(parquet(folder)),
    "conll": conll,
    "tabs": lambda folder: conll(
        folder, "rows.txt", CONLL.replace(" x ", "\t").replace("\n", "\r\n")
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_say_the_same(form: str, tmp_path: Path) -> None:
    read = read_sentences(FORMS[form](tmp_path))
    assert list(read) == ["all"]
    rows = read["all"]
    assert rows.kind == "words" and rows.objective == "tags" and rows.targets is not None
    assert [list(row) for row in rows.inputs] == WORDS
    assert [list(row) for row in rows.targets] == TAGS


def test_splits_and_columns_by_name(tmp_path: Path) -> None:
    path = parquet(tmp_path)
    read = read_sentences({"train": path, "dev": path}, target="xpos", inputs="tokens")
    assert list(read) == ["train", "validation"]
    assert read["train"].target_name == "xpos"


def test_numbers_are_tags_too() -> None:
    rows = read_sentences(([["a", "b"]], [[0, np.int64(3)]]))["all"]
    assert rows.targets is not None and rows.targets[0] == ("0", "3")


def test_sentences_without_words_are_left_out_and_told() -> None:
    rows = read_sentences(([["a"], [], ["b"]], [["X"], [], ["Y"]]))["all"]
    assert len(rows) == 2
    assert rows.notes == ("1 sentences without a word left out",)


WRONG: dict[str, tuple[Any, str]] = {
    "unequal": (([["a", "b"], ["c"]], [["X", "Y"], ["X", "Y"]]), "row 1 has 1 words and 2 tags"),
    "rows": ((WORDS, TAGS[:2]), "X has 3 sentences and y has 2"),
    "no string": (([["a", 3]], [["X", "Y"]]), "row 0 has the word 3"),
    "missing": (([["a"]], [[None]]), "row 0 has the tag None"),
    "float": (([["a"]], [[0.5]]), "row 0 has the tag 0.5"),
    "text": ((["a b"], [["X", "Y"]]), r"row 0 is 'a b'; .* text.split\(\)"),
    "no list": (pd.DataFrame({"text": ["a b"], "tags": ["X Y"]}), "no column holds lists"),
    "empty": (([[]], [[]]), "no sentence has a word"),
    "nothing": (([], []), "no sentences"),
    "no tags": (WORDS, "sentences without tags"),
    "split": ({"train": (WORDS, TAGS), "rest": (WORDS, TAGS)}, "the splits are"),
    "no train": ({"test": (WORDS, TAGS)}, "no split 'train'"),
    "which": (
        pd.DataFrame({"tokens": WORDS, "u": TAGS, "v": TAGS}),
        "which column holds the tags",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_refused(case: str) -> None:
    data, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        read_sentences(data)


def test_a_split_is_named_with_the_row() -> None:
    with pytest.raises(InputError, match="the validation split, row 0 has 1 words and 2 tags"):
        read_sentences({"train": (WORDS, TAGS), "validation": ([["a"]], [["X", "Y"]])})


def test_a_wrong_column_is_named() -> None:
    frame = pd.DataFrame({"tokens": WORDS, "tags": TAGS})
    with pytest.raises(InputError, match="target='tgas' is no column of lists"):
        read_sentences(frame, target="tgas")


@pytest.mark.parametrize("text", ["one column\nalone\n", "\n\n"])
def test_a_file_of_another_form(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 2|holds no sentence"):
        read_sentences(conll(tmp_path, text=text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_sentences(tmp_path / "none.conll")


def test_rows_to_predict() -> None:
    assert word_lists([["a"], [], ("b", "c")]).tolist() == [("a",), (), ("b", "c")]
    for wrong in ("a b", ["a b"], [["a", None]]):
        with pytest.raises(InputError):
            word_lists(wrong)


def test_selecting_keeps_words_and_tags_together() -> None:
    rows: Examples = read_sentences((WORDS, TAGS))["all"].select(np.array([2, 0]), "train")
    assert rows.targets is not None
    assert rows.inputs[0] == ("It", "rains") and rows.targets[0] == ("P", "V")
