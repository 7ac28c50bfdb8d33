"""The predictions of `mlexpert predict`, as tables that are written one piece after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import typer

from mlexpert.data.folders import images_below
from mlexpert.data.nearest import listing
from mlexpert.data.sources import load
from mlexpert.errors import InputError, RunError

if TYPE_CHECKING:
    from mlexpert.fitted import Fitted


def tables_of(fitted: Fitted, data: str) -> Iterator[pd.DataFrame]:
    """Return the tables of predictions, each of some rows.

    Args:
        fitted: The model.
        data: A path or name, as `Fitted.predict_stream` takes it.

    Raises:
        InputError: If there are no rows, or the first ones are refused.
    """
    folder = Path(data)
    files = images_below(folder) if folder.is_dir() else []
    names = [file.relative_to(folder).as_posix() for file in files]
    tables = _tables(fitted, data, names)
    first = next(tables, None)
    if first is None:
        raise InputError("there are no rows to predict")
    return chain([first], tables)


def show(tables: Iterable[pd.DataFrame]) -> None:
    """Print the tables as one csv."""
    for number, table in enumerate(tables):
        typer.echo(_csv(table, header=number == 0), nl=False)


def write(tables: Iterable[pd.DataFrame], output: Path) -> int:
    """Write the tables into one file, which is there only when it is whole; return its rows.

    Raises:
        InputError: If a row is refused.
        RunError: If the file cannot be written.
    """
    beside = output.with_name(f".writing-{output.name}")
    begin = _parquet if output.suffix.lower() == ".parquet" else _text
    rows = 0
    try:
        with begin(beside) as add:
            for table in tables:
                add(table)
                rows += len(table)
        beside.rename(output)
    except OSError as error:
        raise RunError(f"{output} cannot be written: {error.strerror or error}.") from error
    finally:
        beside.unlink(missing_ok=True)
    return rows


def _answers(fitted: Fitted, data: str) -> pd.DataFrame:
    """Return the sequence that a model answers to each row: of lists, joined by spaces.

    Raises:
        InputError: If the column that was fitted on is not there.
    """
    (name,) = fitted.facts["data"]["inputs"]
    parts = load(data, target=None, for_prediction=False, as_text=[name])
    columns = next(iter(parts.values()))
    if len(parts) > 1 or not columns.has_values(name):
        raise InputError(
            f"{data} has no column {name!r}, which the model reads; columns: "
            f"{listing(columns.order)}."
        )
    said = fitted.predict(columns.values(name))
    return pd.DataFrame(
        {"prediction": [one if isinstance(one, str) else " ".join(one) for one in said]}
    )


def _tables(fitted: Fitted, data: str, names: list[str]) -> Iterator[pd.DataFrame]:
    if fitted.schema.objective in ("tags", "transduction"):
        yield _answers(fitted, data)
        return
    for piece in fitted.predict_stream(data):
        columns: dict[str, Any] = {}
        if names:  # the images below a folder, in this order
            columns["file"] = names[piece.start : piece.start + len(piece)]
        if fitted.schema.objective == "multilabel":
            for label in fitted.classes_:
                columns[f"prediction_{label}"] = [int(label in own) for own in piece.predictions]
        else:
            columns["prediction"] = piece.predictions
        if piece.probabilities is not None:
            for position, label in enumerate(fitted.classes_):
                columns[f"probability_{label}"] = piece.probabilities[:, position]
        yield pd.DataFrame(columns)


def _csv(table: pd.DataFrame, *, header: bool) -> str:
    return table.to_csv(index=False, header=header)


@contextmanager
def _text(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Open a csv file, and yield what adds a table to it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        yield lambda table: print(_csv(table, header=file.tell() == 0), end="", file=file)


@contextmanager
def _parquet(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Open a parquet file, and yield what adds a table to it, as a group of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with ExitStack() as stack:
        opened: list[pq.ParquetWriter] = []

        def add(table: pd.DataFrame) -> None:
            rows = pa.Table.from_pandas(table, preserve_index=False)
            if not opened:  # the first rows say of which types the columns are
                opened.append(stack.enter_context(pq.ParquetWriter(path, rows.schema)))
            opened[0].write_table(rows)

        yield add
