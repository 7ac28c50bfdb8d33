"""Pairs of sequences, one to be made of the other, from whatever a user holds them in.

A sequence is a string, which is read by its characters or its words, or a list of strings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlexpert.data.arrays import is_sequence
from mlexpert.data.columns import Columns
from mlexpert.data.examples import Examples
from mlexpert.data.nearest import did_you_mean, listing
from mlexpert.data.sources import SPLITS, load
from mlexpert.errors import InputError

Unit = Literal["characters", "words"]
_SOURCES, _TARGETS = ("source", "input", "src", "x"), ("target", "output", "tgt", "y")


@dataclass(frozen=True)
class _Pairs:
    """The two columns of a source, and their names."""

    sources: list[Any]
    targets: list[Any]
    names: tuple[str, str]


def read_pairs(
    ds: Any, *, unit: Unit, target: str | None = None, inputs: str | None = None
) -> dict[str, Examples]:
    """Read pairs of sequences, by split.

    Args:
        ds: A `DataFrame`, a `datasets.Dataset`, a parquet or csv file with a column of sources and
            one of targets; a pair (sources, targets) of lists; or a dict of such by split.
        unit: How strings are parted.
        target: The column of targets. None: one of a usual name, or the last of two.
        inputs: The column of sources; None: one of a usual name, or the other of two.

    Returns:
        {"all": examples}, or "train" with any of "validation" and "test". Inputs are tuples of
        strings, also of a source without any; targets are as they came, strings or tuples.

    Raises:
        InputError: If the data is of another form, or a sequence is; the row is named.
    """
    if not isinstance(ds, Mapping):
        return {"all": _examples(_pairs(ds, target, inputs), unit, "")}
    read: dict[str, Examples] = {}
    for key, value in ds.items():
        name = SPLITS.get(str(key).lower())
        if name is None or name in read:
            raise InputError(
                f"the splits are {listing(ds)}; give 'train' and any of 'validation' and 'test'."
            )
        read[name] = _examples(_pairs(value, target, inputs), unit, f"the {name} split, ")
    if "train" not in read:
        raise InputError(f"there is no split 'train', but {listing(ds)}.")
    kinds = {type(part.targets[0]) for part in read.values() if part.targets is not None}
    if len(kinds) > 1:
        raise InputError("targets are strings in one split and lists in another.")
    return read if len(read) > 1 else {"all": read["train"]}


def sequences_of(x: Any, unit: Unit) -> np.ndarray:
    """Return sources to predict as an object array (N,) of tuples of strings.

    Raises:
        InputError: If they are no list of strings or of lists of them; the row is named.
    """
    if isinstance(x, str) or not is_sequence(x):
        raise InputError(f"a list of sources is needed, not {x!r:.80}.")
    return _object_array(
        [symbols_of(row, unit, f"source {row_no}") for row_no, row in enumerate(x)]
    )


def symbols_of(value: Any, unit: Unit, place: str = "this") -> tuple[str, ...]:
    """Return the symbols of a sequence.

    Raises:
        InputError: If it is neither a string nor a list of strings.
    """
    if isinstance(value, str):
        return tuple(value) if unit == "characters" else tuple(value.split())
    if not is_sequence(value) or not all(isinstance(one, str) for one in value):
        raise InputError(f"{place} is {value!r:.80}; give a string, or a list of strings.")
    return tuple(str(one) for one in value)


def joined(symbols: tuple[str, ...], unit: Unit) -> str:
    """Return symbols as the string that they are of."""
    return ("" if unit == "characters" else " ").join(symbols)


def _pairs(ds: Any, target: str | None, inputs: str | None) -> _Pairs:
    if isinstance(ds, tuple) and len(ds) == 2 and is_sequence(ds[0]) and is_sequence(ds[1]):
        if len(ds[0]) != len(ds[1]):
            raise InputError(f"there are {len(ds[0])} sources and {len(ds[1])} targets.")
        return _Pairs(list(ds[0]), list(ds[1]), ("x", "y"))
    if is_sequence(ds):
        raise InputError("sources without targets: give the pair (sources, targets), or a table.")
    if isinstance(ds, str | Path) and Path(ds).suffix in (".csv", ".tsv", ".gz"):
        named = [name for name in (target, inputs, *_SOURCES, *_TARGETS) if name is not None]
        loaded = load(ds, target=None, for_prediction=False, as_text=named)
    else:
        loaded = load(ds, target=None, for_prediction=False)
    if list(loaded) != ["all"]:
        raise InputError(f"the data holds splits itself: {listing(loaded)}.")
    return _of_columns(loaded["all"], target, inputs)


def _of_columns(columns: Columns, target: str | None, inputs: str | None) -> _Pairs:
    names = [name for name in columns.order if name not in columns.images]
    for role, name in (("target", target), ("inputs", inputs)):
        if name is not None and name not in names:
            hint = did_you_mean(name, names)
            raise InputError(f"{role}={name!r} is no column; there are {listing(names)}.{hint}")
    left = [name for name in names if name not in (target, inputs)]
    source = inputs or next((name for name in _SOURCES if name in left), None)
    aim = target or next((name for name in _TARGETS if name in left), None)
    if len(names) == 2:
        source = source or next(name for name in names if name != aim)
        aim = aim or next(name for name in names if name != source)
    if source is None or aim is None or source == aim:
        raise InputError(
            "which column holds the sources, and which the targets? Name them with inputs= and "
            f"target=: {listing(names)}."
        )
    return _Pairs(columns.values(source), columns.values(aim), (source, aim))


def _examples(pairs: _Pairs, unit: Unit, where: str) -> Examples:
    if not pairs.sources:
        raise InputError(f"{where}there are no pairs.")
    sources = [
        symbols_of(value, unit, f"{where}row {row}: the source")
        for row, value in enumerate(pairs.sources)
    ]
    targets = [
        value
        if isinstance(value, str)
        else symbols_of(value, unit, f"{where}row {row}: the target")
        for row, value in enumerate(pairs.targets)
    ]
    if len({type(value) for value in targets}) > 1:
        raise InputError(f"{where}some targets are strings and some are lists.")
    return Examples(
        kind="words",
        inputs=_object_array(sources),
        targets=_object_array(targets),
        objective="transduction",
        target_name=pairs.names[1],
        input_names=(pairs.names[0],),
    )


def _object_array(rows: list[Any]) -> np.ndarray:
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array
