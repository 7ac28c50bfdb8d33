"""Texts to learn a language from, in whatever form a user holds them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlexpert.data.examples import Examples
from mlexpert.data.nearest import listing
from mlexpert.data.sources import SPLITS, load
from mlexpert.errors import InputError

ENDINGS = (".txt", ".txt.gz")
ACCEPTED = (
    "the path of a .txt or .txt.gz file (one text), a list of texts, a table or dataset with a "
    "column of texts, or a dict of such by split"
)


def read_documents(ds: Any, column: str | None) -> dict[str, Examples]:
    """Return the texts of a user's data, undivided ("all") or by the user's own split.

    Args:
        ds: The data.
        column: The column of the texts of a table; None takes the one that holds strings.

    Raises:
        InputError: If there are none, or one is empty.
    """
    if isinstance(ds, Mapping):
        return _by_split(ds, column)
    return {"all": _examples(_texts(ds, column), "the data")}


def _by_split(ds: Mapping[Any, Any], column: str | None) -> dict[str, Examples]:
    parts: dict[str, Examples] = {}
    for key, value in ds.items():
        name = SPLITS.get(str(key).lower())
        if name is None or name in parts:
            raise InputError(
                f"a dict holds the splits 'train' and any of 'validation' and 'test', each once; "
                f"this one holds {listing(ds)}."
            )
        parts[name] = _examples(_texts(value, column), f"the {name} split")
    if "train" not in parts:
        raise InputError(f"there is no split 'train'; this dict holds {listing(ds)}.")
    return parts if len(parts) > 1 else {"all": parts["train"]}


def _texts(ds: Any, column: str | None) -> list[Any]:
    if isinstance(ds, str | Path) and str(ds).lower().endswith(ENDINGS):
        return [_read_file(Path(ds).expanduser())]
    if isinstance(ds, Sequence) and not isinstance(ds, str | tuple):
        return list(ds)
    parts = load(ds, target=None, for_prediction=False)
    if list(parts) != ["all"]:
        raise InputError("a split holds splits itself: give one set of texts for each.")
    frame = parts["all"].frame
    if column is None:
        found = [name for name in frame.columns if _is_text(frame[name])]
        if len(found) != 1:
            raise InputError(
                f"{len(found)} columns hold texts ({listing(found) or 'none'}): name one with "
                f"target=; columns: {listing(frame.columns)}. Accepted are {ACCEPTED}."
            )
        column = found[0]
    if column not in frame.columns:
        raise InputError(f"there is no column {column!r}; columns: {listing(frame.columns)}.")
    return frame[column].tolist()


def _is_text(column: Any) -> bool:
    present = column.dropna()
    return bool(len(present)) and isinstance(present.iloc[0], str)


def _read_file(path: Path) -> str:
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
        return raw.decode("utf-8")
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"file {str(path)!r} cannot be read: {error}.") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"file {str(path)!r} is not UTF-8 ({error.reason} at byte {error.start}): convert it."
        ) from error


def _examples(texts: Sequence[Any], where: str) -> Examples:
    if not len(texts):
        raise InputError(f"{where} holds no text.")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"row {row} of {where} is {text!r}, not a text.")
        if not text.strip():
            raise InputError(f"row {row} of {where} is an empty text: drop it.")
    inputs = np.empty(len(texts), dtype=object)
    inputs[:] = texts
    return Examples(kind="text", inputs=inputs, objective="tokens")
