"""Rows as named columns, before any role is known: the form that every source is brought into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlexpert.data.examples import Kind
from mlexpert.data.images import ArrowColumn, Images
from mlexpert.data.nearest import listing
from mlexpert.errors import InputError

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa


TARGET_NAMES = frozenset({"label", "labels", "target", "targets", "class", "y"})


@dataclass(frozen=True)
class Columns:
    """Named columns of equal length.

    Attributes:
        frame: Plain columns: numbers, strings, dates.
        images: Image columns.
        opaque: Columns that cannot be inputs (lists, audio, ...), each with what it holds.
        label_sets: Those of the opaque columns that may be a target: lists of labels, or a frame of
            0 and 1 whose columns are the labels.
        class_names: For columns of integers, or of lists of them, whose source names the classes:
            integer -> name.
        order: All column names, as the source orders them.
        target: The target's column, where the form says it: the y of a pair, the folder of an
            image.
        kind: What the inputs are, where the form says it: a list of strings is text.
        notes: What the user should know about how these were read.
    """

    frame: pd.DataFrame
    images: Mapping[str, Images] = field(default_factory=dict)
    opaque: Mapping[str, str] = field(default_factory=dict)
    label_sets: Mapping[str, Any] = field(default_factory=dict)
    class_names: Mapping[str, dict[int, str]] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    target: str | None = None
    kind: Kind | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        for images in self.images.values():
            return len(images)
        return len(self.frame)

    def values(self, name: str) -> list[Any]:
        """Return what stands in a column of plain values or of lists, row by row."""
        if name in self.frame.columns:
            return self.frame[name].tolist()
        held = self.label_sets[name]
        return held.to_pylist() if is_instance(held, "pyarrow", "ChunkedArray") else list(held)

    def has_values(self, name: str) -> bool:
        """Return whether a column can be a target: it holds plain values, or lists of them."""
        return name in self.frame.columns or name in self.label_sets


def from_frame(frame: pd.DataFrame) -> Columns:
    """Bring a DataFrame into columns; images are found by the first value of an object column."""
    index = [str(name) for name in frame.index.names if name is not None]
    frame = frame.reset_index(drop=True)
    frame.columns = pd.Index([str(name) for name in frame.columns], dtype=object)
    repeated = frame.columns[frame.columns.duplicated()].unique()
    if len(repeated):
        raise InputError(f"column names must differ; more than one is named {listing(repeated)}")
    for name in frame.columns[[isinstance(dtype, pd.ArrowDtype) for dtype in frame.dtypes]]:
        frame[name] = _plain(frame[name])
    images: dict[str, Images] = {}
    opaque: dict[str, str] = {}
    for name in frame.columns[[pd.api.types.is_object_dtype(dtype) for dtype in frame.dtypes]]:
        present = frame[name].dropna()
        if present.empty or isinstance(present.iloc[0], str | bool | int | float):
            continue
        first = present.iloc[0]
        if is_image(first):
            images[name] = images_of(frame[name].tolist(), name)
        elif isinstance(first, list | tuple | dict | set | frozenset | np.ndarray) or is_instance(
            first, "torch", "Tensor"
        ):
            opaque[name] = f"values of type {type(first).__name__}"
    order = tuple(frame.columns)
    note = f"the index of the frame ({listing(index)}) left out: reset_index() makes columns of it"
    plain = frame.drop(columns=[*images, *opaque])
    sets = {name: frame[name] for name in opaque}
    return Columns(plain, images, opaque, sets, order=order, notes=(note,) if index else ())


def _plain(series: pd.Series) -> pd.Series:
    """Return a column that is stored as Arrow in pandas' own types."""
    import pyarrow as pa

    return pa.chunked_array(pa.array(series)).to_pandas()


def from_dataset(dataset: datasets.Dataset) -> Columns:
    """Bring a Hugging Face dataset into columns, with the roles that its features declare.

    Raises:
        InputError: A transform is set on it, which would not be applied; or images are missing.
    """
    import datasets as hf

    if dataset.format["type"] == "custom":
        raise InputError(
            "the dataset has a transform (set_transform or with_transform), which would not be "
            "applied: make its result part of the data with map(...), or take it off with "
            "with_format(None)"
        )
    table: pa.Table = dataset.with_format("arrow")[:]
    plain: dict[str, pd.Series] = {}
    images: dict[str, Images] = {}
    opaque: dict[str, str] = {}
    sets: dict[str, Any] = {}
    names: dict[str, dict[int, str]] = {}
    for name, feature in dataset.features.items():
        if isinstance(feature, hf.Image):
            images[name] = _arrow_images(table.column(name), name)
        elif isinstance(feature, hf.ClassLabel):
            labels = table.column(name).to_pandas()
            plain[name] = labels.mask(labels < 0)  # -1 is how datasets write "not known"
            if not plain[name].hasnans:
                plain[name] = labels
            names[name] = dict(enumerate(feature.names))
        elif isinstance(feature, hf.Value) and feature.dtype not in ("binary", "large_binary"):
            plain[name] = table.column(name).to_pandas()
        elif isinstance(feature, hf.Value):
            images[name] = images_of(table.column(name).to_pylist(), name)
        else:
            opaque[name] = f"values of type {type(feature).__name__}"
            if isinstance(feature, hf.Audio):
                opaque[name] = (
                    "encoded audio (decode it first, with torchcodec installed: "
                    f"ds.map(lambda row: {{'wave': row[{name!r}].get_all_samples().data[0]}}))"
                )
            if isinstance(feature, hf.List | hf.LargeList | hf.Array2D | dict):
                sets[name] = table.column(name)
                inner = feature.feature if isinstance(feature, hf.List | hf.LargeList) else None
                if isinstance(inner, hf.ClassLabel):
                    names[name] = dict(enumerate(inner.names))
    frame = pd.DataFrame(plain, index=pd.RangeIndex(table.num_rows))
    return Columns(frame, images, opaque, sets, names, tuple(dataset.features))


def from_rows(rows: list[Any]) -> Columns:
    """Bring items of a torch dataset into columns: each a pair (x, y) or a dict of named values.

    Raises:
        InputError: There are none, or they are of another form.
    """
    if not rows:
        raise InputError("the dataset has no rows")
    first = rows[0]
    if isinstance(first, dict):
        keys, get = list(first), lambda row, key: row[key]
        keyed = all(isinstance(row, dict) and list(row) == keys for row in rows)
    else:
        keyed = all(isinstance(row, tuple | list) and len(row) == 2 for row in rows)
        keys, get = ["x", "y"], lambda row, key: row[keys.index(key)]
    if not keyed:
        raise InputError(
            "items of a dataset must all be pairs (x, y) or all be dicts with the same keys; the "
            f"first is a {type(first).__name__}"
        )
    plain: dict[str, Any] = {}
    images: dict[str, Images] = {}
    sets: dict[str, list] = {}
    pair = not isinstance(first, dict)
    for key in keys:
        values = [unwrap(get(row, key)) for row in rows]
        if isinstance(values[0], list | tuple | set | frozenset) or _are_targets(str(key), values):
            sets[str(key)] = values
        else:
            _add_values(str(key), values, plain, images)
    frame = pd.DataFrame(plain, index=pd.RangeIndex(len(rows)))
    text = pair and isinstance(get(first, "x"), str)
    return Columns(
        frame,
        images,
        {name: f"values of type {type(values[0]).__name__}" for name, values in sets.items()},
        sets,
        order=(*images, *frame.columns, *sets),
        target="y" if pair else None,
        kind="text" if text else None,
    )


def _are_targets(name: str, values: list[Any]) -> bool:
    """Return whether values are vectors of several labels, and not several inputs."""
    first = values[0]
    vectors = isinstance(first, np.ndarray) and first.ndim == 1
    return vectors and len(first) != 1 and name.lower() in TARGET_NAMES


def _add_values(
    name: str, values: list[Any], plain: dict[str, Any], images: dict[str, Images]
) -> None:
    """Add one key's values: images, a vector as columns name0, name1, ..., or scalars."""
    arrays = [value for value in values if isinstance(value, np.ndarray)]
    shapes = {array.shape for array in arrays}
    if values and is_image(values[0]):
        images[name] = images_of(values, name)
    elif not arrays:
        plain[name] = pd.Series(values)
    elif len(arrays) < len(values) or (len(shapes) > 1 and arrays[0].ndim < 2):
        raise InputError(f"{name!r} holds values of different shapes: give all rows the same shape")
    elif arrays[0].ndim == 1:
        stacked = np.stack(arrays)
        if name.lower() in TARGET_NAMES:  # one number each, as a network returns it
            plain[name] = stacked[:, 0]
            return
        plain.update({f"{name}{j}": stacked[:, j] for j in range(stacked.shape[1])})
    elif len(shapes) == 1:
        images[name] = Images.from_array(np.stack(arrays), channels_first=True)
    else:
        images[name] = Images.from_items(arrays)


def is_image(value: Any) -> bool:
    """Return whether a value is a Pillow image, encoded bytes, or a dict of "bytes" and "path"."""
    if isinstance(value, bytes | bytearray):
        return True
    if isinstance(value, dict):
        return "bytes" in value and "path" in value
    return is_instance(value, "PIL.Image", "Image")


def images_of(items: list[Any], name: str) -> Images:
    """Make images of a column's values, refusing missing ones.

    Raises:
        InputError: Images are missing, or what stands there is no image.
    """
    refuse_missing([not is_image(item) for item in items], f"column {name!r}", "an image")
    return Images.from_items(items)


def _arrow_images(column: pa.ChunkedArray, name: str) -> Images:
    import pyarrow.compute as pc

    content = pc.struct_field(column, "bytes").is_valid().to_numpy()
    path = pc.struct_field(column, "path").is_valid().to_numpy()
    refuse_missing(~(content | path), f"column {name!r}", "an image")
    return Images.from_items(ArrowColumn(column))


def refuse_missing(missing: Any, where: str, what: str) -> None:
    """Raise an `InputError` that counts the rows marked in `missing` and names the first.

    Raises:
        InputError: At least one row is marked.
    """
    rows = np.flatnonzero(np.asarray(missing))
    if len(rows):
        first = ", ".join(str(row) for row in rows[:5])
        raise InputError(
            f"{where} lacks {what} in {len(rows)} of {len(missing)} rows (first rows: {first}): "
            "fill or remove those rows"
        )


def is_instance(value: Any, module: str, name: str) -> bool:
    """Return whether `value` is of a class of a module, without importing the module."""
    import sys

    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))


def unwrap(value: Any) -> Any:
    """Return a tensor as an array, and scalars of numpy or torch as Python scalars."""
    if is_instance(value, "torch", "Tensor"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    return value
