"""Rows whose input is a series: read from arrays, lists, tables and data sets."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from mlexpert.data import sources
from mlexpert.data.arrays import from_pair, is_sequence
from mlexpert.data.assemble import examples_of
from mlexpert.data.columns import TARGET_NAMES, Columns, from_frame, is_instance, unwrap
from mlexpert.data.examples import Examples
from mlexpert.data.intake import check_targets
from mlexpert.data.nearest import listing
from mlexpert.data.roles import find_roles
from mlexpert.data.sequences.series import as_series
from mlexpert.data.weights import read_weights
from mlexpert.errors import InputError

_INPUT = "series"
"""Column of the series of a pair (X, y)."""


@dataclass(frozen=True)
class _Loaded:
    """Columns of which one is of series: their numbers stand in the frame, and they beside it."""

    columns: Columns
    name: str
    values: Any


def opened(ds: Any) -> Any:
    """Return a user's data as they were read, once: pairs as they are, all else as columns.

    What is returned can be handed to `holds_series`, `read_series` and any other reader, which
    would otherwise read a file again, or find a stream at its end.
    """
    if isinstance(ds, Mapping):
        return {key: opened(value) for key, value in ds.items()}
    ds = _plain(ds)
    if isinstance(ds, tuple) and len(ds) == 2:
        return ds
    parts = sources.load(ds, target=None, for_prediction=False)
    return parts if len(parts) > 1 else next(iter(parts.values()))


def holds_series(ds: Any, target: Any = None) -> bool:
    """Return whether rows that were `opened` are series, rather than texts or anything else."""
    if isinstance(ds, Mapping):
        return bool(ds) and holds_series(next(iter(ds.values())), target)
    if isinstance(ds, Columns):
        return bool(_candidates(ds, target))
    if isinstance(ds[0], pd.DataFrame):
        return bool(_candidates(from_frame(ds[0]), target))
    return is_sequence(ds[0]) and not isinstance(_first(ds[0]), str)


def read_series(
    ds: Any,
    *,
    target: Any = None,
    inputs: str | list[str] | None = None,
    for_prediction: bool = False,
    sampling_rate: int | None = None,
    group: str | None = None,
    time: str | None = None,
    subgroups: str | list[str] | None = None,
    sample_weight: Any = None,
) -> dict[str, Examples]:
    """Return the series of a user's data with their labels, undivided ("all") or by split.

    Args:
        ds: A pair (X, y) of series (see `as_series`) and labels, a table or data set with a column
            of lists of numbers, a torch data set of pairs, or a dict of such by split. Cells of
            decoded audio, dicts of "array" and "sampling_rate", are series too.
        target: The column of the labels; None: as it is recognised.
        inputs: The column of the series; None: the one that holds lists of numbers.
        for_prediction: Whether labels are not asked for.
        sampling_rate: What decoded audio has to have, where that is known.
        group: As `fit` takes it; so are `time` and `subgroups`.
        time: The column of the times.
        subgroups: Columns by which results are also reported.
        sample_weight: A column, or an array for the undivided rows or those of train.

    Raises:
        InputError: If the data cannot be used as it is.
    """
    loaded = _by_split(ds, target, inputs, for_prediction)
    first = next(iter(loaded.values()))
    is_column = isinstance(sample_weight, str)
    found = find_roles(
        first.columns,
        target=target,
        inputs=[first.name],
        group=group,
        time=time,
        subgroups=subgroups,
        weight=sample_weight if is_column else None,
        target_needed=not for_prediction,
    )
    parts = {name: _examples(one, found, name, sampling_rate) for name, one in loaded.items()}
    whole = "all" if "all" in parts else "train"
    if sample_weight is not None and not is_column:
        rows = parts[whole]
        read = read_weights(sample_weight, "sample_weight", len(rows))
        parts[whole] = replace(rows, weights=read)
    if not for_prediction:
        check_targets(parts)
        _warn_of_channels(parts[whole].inputs)
    return parts


def _by_split(
    ds: Any, target: Any, inputs: str | list[str] | None, for_prediction: bool
) -> dict[str, _Loaded]:
    if not isinstance(ds, Mapping):
        return _loaded(ds, target, inputs, for_prediction)
    if len(ds) == 1:
        return _by_split(next(iter(ds.values())), target, inputs, for_prediction)
    if for_prediction:
        raise InputError(f"one set of rows is needed here, not the splits {listing(ds)}")
    found: dict[str, _Loaded] = {}
    for key, value in ds.items():
        name = sources.SPLITS.get(str(key).lower())
        if name is None or name in found:
            raise InputError(
                f"a dict holds the splits 'train' and any of 'validation' and 'test'; this one "
                f"holds {listing(ds)}."
            )
        one = _loaded(value, target, inputs, for_prediction)
        if list(one) != ["all"]:
            raise InputError(f"split {name!r} holds splits itself: {listing(one)}")
        found[name] = one["all"]
    if "train" not in found:
        raise InputError(f"there is no split 'train'; this dict holds {listing(ds)}.")
    return found


def _loaded(
    ds: Any, target: Any, inputs: str | list[str] | None, for_prediction: bool
) -> dict[str, _Loaded]:
    ds = _plain(ds)
    if isinstance(ds, tuple) and len(ds) == 2:
        labels = None if for_prediction else ds[1]
        return {"all": _pair(ds[0], labels, target, inputs)}
    if for_prediction and is_sequence(ds):
        return {"all": _pair(ds, None, target, inputs)}
    parts = sources.load(ds, target=None, for_prediction=False)
    return {name: _numbered(one, _column(one, target, inputs)) for name, one in parts.items()}


def _plain(ds: Any) -> Any:
    """Return a torch data set as what it holds: a pair, or a table."""
    if not is_instance(ds, "torch.utils.data", "Dataset"):
        return ds
    if is_instance(ds, "torch.utils.data", "TensorDataset"):
        return ds.tensors if len(ds.tensors) > 1 else ds.tensors[0]
    streamed = is_instance(ds, "torch.utils.data", "IterableDataset")
    rows = list(ds) if streamed else [ds[number] for number in range(len(ds))]
    if rows and all(isinstance(row, tuple | list) and len(row) == 2 for row in rows):
        x, y = zip(*rows, strict=True)
        return list(x), list(y)
    if rows and all(isinstance(row, dict) for row in rows):
        return pd.DataFrame({key: [unwrap(row.get(key)) for row in rows] for key in rows[0]})
    return rows


def _pair(x: Any, y: Any, target: Any, inputs: Any) -> _Loaded:
    if isinstance(x, pd.DataFrame):
        found = from_frame(x)
        if not _candidates(found, None):
            raise InputError(
                f"X is a table of {len(x.columns)} columns, and no column holds lists of numbers. "
                "Where every column is a step of a series: X.to_numpy()."
            )
        name = _column(found, None, inputs)
        x = _cells(found.label_sets[name])
    x = x.tolist() if isinstance(x, pd.Series | pd.Index) else x
    count = len(x) if is_sequence(x) else 0
    if not count:
        raise InputError("the data has no rows")
    numbers = pd.DataFrame({_INPUT: np.arange(count)})
    if y is None:
        return _Loaded(from_frame(numbers), _INPUT, x)
    return _Loaded(from_pair(numbers, y, target if isinstance(target, str) else None), _INPUT, x)


def _column(columns: Columns, target: Any, inputs: str | list[str] | None) -> str:
    if inputs is not None:
        names = [inputs] if isinstance(inputs, str) else list(inputs)
        if len(names) == 1 and names[0] in columns.label_sets:
            return names[0]
        raise InputError(
            f"inputs={inputs!r} names no one column of lists of numbers; columns: "
            f"{listing(columns.order)}."
        )
    found = _candidates(columns, target)
    if len(found) != 1:
        raise InputError(
            f"{len(found)} columns hold lists of numbers ({listing(found) or 'none'}): name one "
            f"with inputs=; columns: {listing(columns.order)}."
        )
    return found[0]


def _candidates(columns: Columns, target: Any) -> list[str]:
    named = [target] if isinstance(target, str) else list(target or ())
    return [
        name
        for name, values in columns.label_sets.items()
        if name not in named
        and name.lower() not in TARGET_NAMES
        and name not in columns.class_names
        and _holds_numbers(values)
    ]


def _holds_numbers(values: Any) -> bool:
    first = None if isinstance(values, pd.DataFrame) else _first(values)
    if isinstance(first, dict):
        return "array" in first
    while isinstance(first, list | tuple | np.ndarray) and len(first):
        first = first[0]
    return isinstance(unwrap(first), int | float) or is_instance(first, "torch", "Tensor")


def _first(values: Any) -> Any:
    """Return the first value that is there."""
    if is_instance(values, "pyarrow", "ChunkedArray"):
        return next((one.as_py() for one in values if one.is_valid), None)
    return next((one for one in values if one is not None and one is not pd.NA), None)


def _numbered(columns: Columns, name: str) -> _Loaded:
    """Return columns in which the series are numbers of rows: plain values, like the others."""
    frame = columns.frame.assign(**{name: np.arange(len(columns.frame))})
    others = {one: held for one, held in columns.opaque.items() if one != name}
    sets = {one: held for one, held in columns.label_sets.items() if one != name}
    plain = replace(columns, frame=frame, opaque=others, label_sets=sets)
    return _Loaded(plain, name, _cells(columns.label_sets[name]))


def _cells(values: Any) -> list[Any]:
    if is_instance(values, "pyarrow", "ChunkedArray"):
        import pyarrow as pa

        is_list = pa.types.is_list(values.type) or pa.types.is_large_list(values.type)
        is_flat = is_list and values.type.value_type.num_fields == 0
        return list(values.to_numpy()) if is_flat else values.to_pylist()
    return list(values)


def _examples(loaded: _Loaded, roles: Any, part: str, sampling_rate: int | None) -> Examples:
    rows, name = examples_of(loaded.columns, roles, part), loaded.name
    where = "row {}" if part == "all" else f"row {{}} of the {part} split"
    values, notes = loaded.values, list(rows.notes)
    if isinstance(_first(values), dict):
        values = _decoded(values, name, sampling_rate)
    used = {name, *roles.targets, roles.group, roles.time, roles.weight, *roles.subgroups}
    rest = [one for one in loaded.columns.order if one not in used]
    if rest:
        notes.append(f"column(s) {listing(rest)} left out: the inputs are the series in {name!r}")
    series = as_series(values, where)
    return replace(rows, kind="series", inputs=series, notes=tuple(notes))


def _decoded(values: list[Any], name: str, sampling_rate: int | None) -> list[Any]:
    """Return the samples of decoded audio, all of one rate."""
    lacking = [n for n, one in enumerate(values) if not isinstance(one, dict) or "array" not in one]
    if lacking:
        raise InputError(f"column {name!r} has no decoded audio in row {lacking[0]}.")
    rates = {one.get("sampling_rate") for one in values} - {None}
    wanted = {sampling_rate} - {None}
    if len(rates | wanted) > 1:
        found = " and ".join(map(str, sorted(rates)))
        asked = f"; sampling_rate={sampling_rate}" if wanted else ""
        raise InputError(
            f"column {name!r} has {found} samples a second{asked}: resample to one rate "
            "(datasets: cast_column(..., Audio(sampling_rate=...)))."
        )
    return [one["array"] for one in values]


def _warn_of_channels(series: np.ndarray) -> None:
    """Warn where there are far more channels than steps: they may have been exchanged."""
    longest, channels = max(map(len, series)), series[0].shape[1]
    if longest > 1 and channels > 2 * longest:
        warnings.warn(
            f"the series are read as {channels} channels of at most {longest} steps. If it is the "
            "other way round, exchange the axes: time comes first.",
            stacklevel=2,
        )
