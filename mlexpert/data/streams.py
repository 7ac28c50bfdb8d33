"""Rows of any number, in pieces that are held one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor
from torch.utils.data import Dataset

from mlexpert.data.columns import is_image, is_instance
from mlexpert.data.examples import Kind
from mlexpert.data.folders import images_below
from mlexpert.data.images import CHANNEL_COUNTS
from mlexpert.data.schema import Categorical, Schema
from mlexpert.data.sources import READERS
from mlexpert.errors import InputError


class Rows(Dataset):
    """Rows that are dicts of columns, or pairs of a row and its label."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]


def pieces_of(rows: Any, schema: Schema, rows_at_once: int) -> Iterator[Any]:
    """Return pieces of rows, each of a form that a model predicts from.

    Args:
        rows: An iterable of rows (dicts of columns, lists of values, texts, images, pairs of one of
            these and a label) or of batches of rows (frames, arrays, dicts of columns, pairs of one
            of these and labels); a streamed or ordinary dataset, a frame or an array; the path of a
            parquet or csv file or of a folder of images. Anything else is one piece.
        schema: What is known of the training data.
        rows_at_once: Rows of a piece; batches stay as they are.

    Raises:
        InputError: If `rows_at_once` is no positive number, or when its turn comes if a file cannot
            be read.
    """
    if isinstance(rows_at_once, bool) or not isinstance(rows_at_once, int) or rows_at_once < 1:
        raise InputError(f"rows_at_once={rows_at_once!r}; it takes a whole number of 1 or more.")
    if isinstance(rows, tuple) and rows and isinstance(rows[0], np.ndarray | Tensor | pd.DataFrame):
        rows = _without_label(rows, schema.kind)
    if isinstance(rows, Mapping):  # of splits, of which one is to be chosen
        return iter([rows])
    if isinstance(rows, str | Path):
        return _of_path(Path(rows).expanduser(), rows, schema, rows_at_once)
    if is_instance(rows, "datasets", "Dataset"):
        return (rows.select(range(*cut)) for cut in _cuts(len(rows), rows_at_once))
    if is_instance(rows, "datasets", "IterableDataset"):
        return _of_streamed(rows, rows_at_once)
    if isinstance(rows, pd.DataFrame):
        return (rows.iloc[slice(*cut)] for cut in _cuts(len(rows), rows_at_once))
    if isinstance(rows, np.ndarray | Tensor):
        return (rows[slice(*cut)] for cut in _cuts(len(rows), rows_at_once))
    if isinstance(rows, Iterable):
        return _of_items(iter(rows), schema.kind, rows_at_once)
    if isinstance(rows, Dataset):  # torch's, which need not be iterable
        items = (rows[i] for i in range(len(rows)))  # type: ignore[arg-type]
        return _of_items(items, schema.kind, rows_at_once)
    raise InputError(f"rows of type {type(rows).__name__} cannot be gone through one by one.")


def one_row(piece: Any, number: int) -> Any:
    """Return a piece of the one row at `number`."""
    if isinstance(piece, Rows):
        return Rows([piece[number]])
    if is_instance(piece, "datasets", "Dataset"):
        return piece.select([number])
    return piece.iloc[[number]] if isinstance(piece, pd.DataFrame) else piece[number : number + 1]


def _cuts(length: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + size, length)) for start in range(0, length, size))


def _of_path(path: Path, given: str | Path, schema: Schema, size: int) -> Iterator[Any]:
    endings = "".join(path.suffixes[-2:]).lower()
    ending = next((known for known in READERS if endings.endswith(known)), None)
    if path.is_file() and ending is not None:
        read = _parquet(path, size) if ending == ".parquet" else _csv(path, ending, schema, size)
        return _read(path, read)
    pictures = images_below(path) if path.is_dir() else []
    return _of_items(iter(pictures), "image", size) if pictures else iter([given])


def _read(path: Path, pieces: Iterator[Any]) -> Iterator[Any]:
    """Yield the pieces of a file, with an error that says how far it could be read."""
    seen = 0
    try:
        for piece in pieces:
            seen += len(piece)
            yield piece
    except pd.errors.EmptyDataError as error:
        raise InputError(f"file {str(path)!r} is empty") from error
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"file {str(path)!r} cannot be read after row {seen}: {str(error).strip()}"
        ) from error


def _parquet(path: Path, size: int) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, memory_map=True) as file:
        about = file.schema_arrow.metadata or {}
        for batch in file.iter_batches(batch_size=size):
            table = pa.Table.from_batches([batch]).replace_schema_metadata(about)
            if b"huggingface" in about:
                import datasets

                yield datasets.Dataset(table)
            else:
                yield table.to_pandas()


def _csv(path: Path, ending: str, schema: Schema, size: int) -> Iterator[Any]:
    # The type of a column is that of training, whatever a piece by itself would look like.
    texts = {column.name: "str" for column in schema.columns if isinstance(column, Categorical)}
    with pd.read_csv(
        path, sep=READERS[ending], chunksize=size, dtype=texts, low_memory=False
    ) as pieces:
        for piece in pieces:
            if len(piece):
                yield piece


def _of_streamed(ds: Any, size: int) -> Iterator[Any]:
    import datasets

    ds = ds.with_format(None)
    for name, feature in (ds.features or {}).items():
        if isinstance(feature, datasets.Image):  # as bytes: the model decodes what it reads
            ds = ds.cast_column(name, datasets.Image(decode=False))
    rows = iter(ds)
    while piece := list(islice(rows, size)):
        yield datasets.Dataset.from_list(piece, features=ds.features)


def _of_items(items: Iterator[Any], kind: Kind, size: int) -> Iterator[Any]:
    """Yield the items that are batches as they are, and those that are rows `size` at a time."""
    waiting: list[Any] = []
    for number, item in enumerate(items):
        empty = item is None or (isinstance(item, dict) and not item)
        if empty or isinstance(item, int | float | np.number):
            raise InputError(
                f"item {number} of the stream is {item!r}, and no row: a row is a dict of columns "
                "or a list of values, a text, or an image"
            )
        inputs = _without_label(item, kind)
        is_batch = _is_batch(inputs, kind)
        if not is_batch:
            waiting.append(inputs)
        if waiting and (is_batch or len(waiting) == size):
            yield _piece(waiting)
            waiting = []
        if is_batch:
            batch = _rows_of(inputs) if isinstance(inputs, dict) else inputs
            if len(batch):
                yield batch
    if waiting:
        yield _piece(waiting)


def _piece(rows: list[Any]) -> Any:
    keyed = isinstance(rows[0], dict) and not is_image(rows[0])
    return Rows(rows) if keyed else rows


def _rows_of(batch: dict[Any, Any]) -> Rows:
    lengths = {name: len(values) for name, values in batch.items()}
    length = min(lengths.values())
    if max(lengths.values()) > length:
        raise InputError(f"the columns of a batch differ in length: {lengths}")
    return Rows([{name: values[i] for name, values in batch.items()} for i in range(length)])


def _without_label(item: Any, kind: Kind) -> Any:
    """Return the inputs of a pair of inputs and label, or of batches of both; else the item."""
    if not (isinstance(item, tuple | list) and len(item) == 2):
        return item
    first, second = item
    if kind == "text":  # two texts in a list are a batch, a tuple is one with its label
        is_pair = isinstance(item, tuple) or not isinstance(first, str)
    elif kind == "image":
        is_pair = not is_image(second) and not isinstance(second, Path) and _dimensions(second) < 2
    else:
        holds = isinstance(first, np.ndarray | Tensor | pd.DataFrame | dict | list | tuple)
        is_pair = holds and not isinstance(second, dict | list | tuple)
    return first if is_pair else item


def _is_batch(item: Any, kind: Kind) -> bool:
    """Tell a batch of rows from one row."""
    if isinstance(item, str | Path) or is_image(item):
        return False
    if kind == "series":
        return _is_batch_of_series(item)
    if isinstance(item, dict):
        values = item.values()
        if kind == "image":
            return any(isinstance(v, list) or _dimensions(v) == 4 for v in values)
        return all(isinstance(v, list | pd.Series) or _dimensions(v) > 0 for v in values)
    if isinstance(item, list | tuple) and kind == "tabular":
        return isinstance(item[0], list | tuple | dict | np.ndarray | Tensor) if item else True
    if isinstance(item, np.ndarray | Tensor) and kind != "text":
        if kind == "image" and item.ndim == 3:  # grey images, or one with its channels
            if tuple(item.shape[1:]) == (1, 1):  # of one pixel, but for one image of one
                return item.shape[0] not in CHANNEL_COUNTS
            return not {item.shape[0], item.shape[2]} & set(CHANNEL_COUNTS)
        return item.ndim == (2 if kind == "tabular" else 4)
    return True


def _is_batch_of_series(item: Any) -> bool:
    """Tell a batch from one series: an array (T,) or (T, C), or a list of T numbers."""
    if isinstance(item, pd.DataFrame):
        return True
    if isinstance(item, dict):
        return any(_is_batch_of_series(value) for value in item.values())
    if isinstance(item, list | tuple):
        return bool(item) and isinstance(item[0], list | tuple | dict | np.ndarray | Tensor)
    return _dimensions(item) == 3 or (isinstance(item, np.ndarray) and item.dtype == object)


def _dimensions(value: Any) -> int:
    return value.ndim if isinstance(value, np.ndarray | Tensor) else 0
