"""Texts are read from whatever holds them, and what cannot be used is refused by name."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest
from datasets import Dataset, DatasetDict

from mlexpert.data.sequences.documents import read_documents
from mlexpert.errors import InputError

TEXT = "Été — first.\r\nSecond 🙂 line.\n"
TEXTS = [TEXT, "another text"]


def texts(ds: object, column: str | None = None) -> dict[str, list[str]]:
    return {part: list(rows.inputs) for part, rows in read_documents(ds, column).items()}


@pytest.mark.parametrize("as_string", [True, False])
@pytest.mark.parametrize("ending", [".txt", ".txt.gz"])
def test_a_file_is_one_text_to_the_byte(tmp_path: Path, ending: str, as_string: bool) -> None:
    file, raw = tmp_path / f"book{ending}", TEXT.encode()
    file.write_bytes(gzip.compress(raw) if ending.endswith("gz") else raw)
    assert texts(str(file) if as_string else file) == {"all": [TEXT]}


def test_lists_tables_and_datasets_hold_several(tmp_path: Path) -> None:
    frame = pd.DataFrame({"number": [1, 2], "body": TEXTS})
    frame.to_parquet(tmp_path / "rows.parquet")
    expected = {"all": TEXTS}
    assert texts(TEXTS) == expected
    assert texts(frame) == expected
    assert texts(Dataset.from_dict({"body": TEXTS})) == expected
    assert texts(str(tmp_path / "rows.parquet")) == expected
    assert texts(frame.assign(title=["a", "b"]), "body") == expected


def test_splits_may_be_of_any_form(tmp_path: Path) -> None:
    file = tmp_path / "test.txt"
    file.write_text("sealed", encoding="utf-8")
    given = {"train": TEXTS, "val": pd.DataFrame({"body": ["x y"]}), "test": file}
    assert texts(given) == {"train": TEXTS, "validation": ["x y"], "test": ["sealed"]}
    rows = Dataset.from_dict({"body": TEXTS})
    assert texts(DatasetDict(train=rows, test=rows)) == {"train": TEXTS, "test": TEXTS}


def test_rows_are_texts_whose_next_tokens_are_told() -> None:
    rows = read_documents(TEXTS, None)["all"]
    assert (rows.kind, rows.objective, rows.targets, len(rows)) == ("text", "tokens", None, 2)


@pytest.mark.parametrize(
    ("ds", "column", "message"),
    [
        ([], None, "holds no text"),
        (["a", " \n"], None, "row 1 of the data is an empty text"),
        (["a", 3], None, "row 1 of the data is 3, not a text"),
        ({"train": ["a"], "test": [""]}, None, "row 0 of the test split is an empty text"),
        ({"train": ["a"], "other": ["b"]}, None, "train, other|'train', 'other'"),
        ({"dev": ["a"]}, None, "no split 'train'"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), None, "2 columns hold texts .* target="),
        (pd.DataFrame({"a": [1]}), None, "0 columns hold texts"),
        (pd.DataFrame({"a": ["x"]}), "b", "no column 'b'"),
        ("absent.txt", None, "cannot be read"),
        ("a text of its own", None, "no file"),
    ],
)
def test_what_cannot_be_used_is_refused(ds: object, column: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_documents(ds, column)


def test_broken_files_are_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"a text that is long enough to be cut" * 50)
    broken = {"a.txt": b"\xff\xfe\x00", "b.txt.gz": b"no gzip", "c.txt.gz": whole[:-9]}
    broken["d.txt.gz"] = whole[:12] + b"\xff\xff" + whole[14:]
    for name, raw in broken.items():
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(InputError, match=name):
            read_documents(tmp_path / name, None)
