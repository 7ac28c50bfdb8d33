"""Every form in which a user may hold data, brought into columns, one set for each split."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from mlexpert.data import arrays, folders
from mlexpert.data.columns import Columns, from_dataset, from_frame, from_rows, is_instance
from mlexpert.data.nearest import did_you_mean, listing
from mlexpert.errors import InputError

DEMO = Path(__file__).parent / "demo"
SPLITS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)
ACCEPTED = (
    "a datasets.Dataset, a pandas DataFrame, a pair (X, y) of arrays or tensors, a torch Dataset, "
    "a dict of such by split, a path to a parquet or csv file or to a folder of class folders, "
    'the name of a dataset on the hub, or "demo"'
)


def load(
    ds: Any, *, target: str | None, for_prediction: bool, as_text: Collection[str] = ()
) -> dict[str, Columns]:
    """Bring any supported data into columns by split, or under the one key "all".

    Args:
        ds: The data.
        target: As the user named it.
        for_prediction: Whether labels are not asked for.
        as_text: Columns of a csv file that are read as they are written, and not as numbers.

    Raises:
        InputError: The form is not known, or what it points to cannot be read.
    """
    if isinstance(ds, Columns):  # read already
        return {"all": ds}
    if isinstance(ds, str | Path):
        return _by_path(ds, for_prediction, as_text)
    if is_instance(ds, "datasets", "Dataset"):
        return {"all": from_dataset(ds)}
    if is_instance(ds, "datasets", "IterableDataset"):
        return {"all": from_dataset(_read_through(ds))}
    if isinstance(ds, Mapping):  # DatasetDict and IterableDatasetDict are dicts too
        return _by_split(ds, target, for_prediction)
    if is_instance(ds, "torch.utils.data", "Dataset"):
        return {"all": _from_torch(ds, target, for_prediction)}
    if isinstance(ds, tuple) and len(ds) == 2 and not (for_prediction and isinstance(ds[0], str)):
        return {"all": arrays.from_pair(*ds, target)}
    if isinstance(ds, pd.DataFrame):
        return {"all": from_frame(ds)}
    if for_prediction:
        return {"all": arrays.from_inputs(ds)}
    if arrays.is_sequence(ds):
        raise InputError("inputs without labels: give the pair (X, y), or a DataFrame and target=")
    if is_instance(ds, "torch.utils.data", "DataLoader"):
        raise InputError("a DataLoader draws its own batches: give its dataset, loader.dataset")
    raise InputError(f"data of type {type(ds).__name__} is not known. Give {ACCEPTED}")


def _by_split(
    ds: Mapping[Any, Any], target: str | None, for_prediction: bool
) -> dict[str, Columns]:
    known: dict[str, Any] = {}
    left_out: list[str] = []
    for key, value in ds.items():
        name = SPLITS.get(str(key).lower())
        if name is None:
            left_out.append(str(key))
        elif name in known:
            raise InputError(f"more than one split is a {name} split; splits: {listing(ds)}")
        else:
            known[name] = value
    if len(ds) == 1 and (for_prediction or not known):
        known, left_out = {"train": next(iter(ds.values()))}, []
    if "train" not in known:
        raise InputError(
            "a dict must hold the splits 'train' and any of 'validation' and 'test'; this one "
            f"holds {listing(ds)}. (A dict of columns: pandas.DataFrame(...))"
        )
    if for_prediction and len(known) > 1:
        raise InputError(
            f"one set of rows is needed here, not the splits {listing(ds)}: choose one, e.g. "
            "ds['test']"
        )
    parts: dict[str, Columns] = {}
    for name, value in known.items():
        loaded = load(value, target=target, for_prediction=for_prediction)
        if list(loaded) != ["all"]:
            raise InputError(f"split {name!r} holds splits itself: {listing(loaded)}")
        parts[name] = loaded["all"]
    if left_out:
        note = f"split(s) {listing(left_out)} left out: only train, validation and test are read"
        parts["train"] = _with_note(parts["train"], note)
    return parts if len(parts) > 1 else {"all": parts["train"]}


def _with_note(columns: Columns, note: str) -> Columns:
    return replace(columns, notes=(*columns.notes, note))


def _by_path(
    ds: str | Path, for_prediction: bool, as_text: Collection[str] = ()
) -> dict[str, Columns]:
    if ds == "demo":
        paths = {part: DEMO / f"fashion_mnist_lt_{part}.parquet" for part in ("train", "test")}
        if for_prediction:
            return {"all": _from_file(paths["test"])}
        return {part: _from_file(path) for part, path in paths.items()}
    path = Path(ds).expanduser()
    if os.path.isfile(path):  # unlike Path.is_file, no error for a text too long to be a name
        return {"all": _from_file(path, as_text)}
    if os.path.isdir(path):
        return _from_folder(path, for_prediction)
    hub_name = isinstance(ds, str) and HUB_NAME.fullmatch(ds) and path.suffix.lower() not in READERS
    if not hub_name:
        siblings = os.listdir(path.parent) if os.path.isdir(path.parent) else []
        hint = did_you_mean(path.name, siblings)
        raise InputError(f"there is no file or folder {str(ds)[:200]!r}.{hint}")
    return _from_hub(str(ds), for_prediction)


def _from_folder(folder: Path, for_prediction: bool) -> dict[str, Columns]:
    if any((folder / name).is_file() for name in ("dataset_dict.json", "dataset_info.json")):
        raise InputError(
            f"folder {str(folder)!r} holds a dataset of datasets.save_to_disk: pass "
            "datasets.load_from_disk(folder), or write it as a parquet file with to_parquet(...)"
        )
    inside = folders.subfolders(folder)
    splits = {name: path for name, path in inside.items() if name.lower() in SPLITS}
    if not splits or len(splits) < len(inside) or "train" not in {name.lower() for name in splits}:
        read = folders.from_loose_images if for_prediction else folders.from_class_folders
        return {"all": read(folder)}
    if for_prediction:
        raise InputError(
            f"folder {str(folder)!r} holds splits {listing(splits)}: choose one of these folders"
        )
    return _by_split(splits, None, for_prediction)


def _from_file(path: Path, as_text: Collection[str] = ()) -> Columns:
    endings = "".join(path.suffixes[-2:]).lower()
    suffix = next((known for known in READERS if endings.endswith(known)), None)
    if suffix is None:
        raise InputError(
            f"file {str(path)!r} ends in none of {listing(READERS)}: convert it to one of these"
        )
    try:
        if suffix == ".parquet":
            columns = _read_parquet(path)
        else:
            columns = _read_csv(path, READERS[suffix], as_text)
    except InputError:
        raise
    except pd.errors.EmptyDataError as error:
        raise InputError(f"file {str(path)!r} is empty") from error
    except (
        OSError,
        ValueError,
        EOFError,
    ) as error:  # pyarrow's and pandas' errors are of these types
        raise InputError(
            f"file {str(path)!r} cannot be read as {suffix}: {str(error).strip()}"
        ) from error
    if not columns.order:
        raise InputError(f"file {str(path)!r} has no columns")
    return columns


READERS = {".parquet": "", ".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}


def _read_csv(path: Path, separator: str, as_text: Collection[str]) -> Columns:
    texts = dict.fromkeys(as_text, "str")
    frame = pd.read_csv(path, sep=separator, low_memory=False, dtype=texts)
    names = [str(name) for name in frame.columns]
    other = next((mark for mark in ";\t|," if len(names) == 1 and mark in names[0]), None)
    if other is not None:
        raise InputError(
            f"file {str(path)!r} has one column, {names[0][:80]!r}: it seems to be separated by "
            f"{other!r}. Write it with {separator!r}, or read it with "
            f"pandas.read_csv(..., sep={other!r}) and pass the frame"
        )
    return from_frame(frame)


def _read_parquet(path: Path) -> Columns:
    import pyarrow.parquet as pq

    table = pq.read_table(path, memory_map=True)
    if b"huggingface" not in (table.schema.metadata or {}):
        return from_frame(table.to_pandas())
    import datasets

    # Made of the table itself, so that nothing is written to a cache folder; the features come from
    # its metadata.
    return from_dataset(datasets.Dataset(table))


def _from_hub(name: str, for_prediction: bool) -> dict[str, Columns]:
    import datasets

    try:
        loaded = datasets.load_dataset(name)
    except Exception as error:  # offline, not found, gated, ...: the user must hear which it is
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{name!r} is neither a file nor a folder here, and the hub of datasets did not give "
            f"it (offline, or no dataset of this name?): {reason}. Give a path, or load it "
            "yourself and pass the dataset"
        ) from error
    return load(loaded, target=None, for_prediction=for_prediction)


def _read_through(ds: Any) -> Any:
    """Read a streamed dataset into memory, images as their bytes."""
    import datasets

    ds = ds.with_format(None)
    for name, feature in (ds.features or {}).items():
        if isinstance(feature, datasets.Image):
            ds = ds.cast_column(name, datasets.Image(decode=False))
    rows = list(ds)
    if not rows:
        raise InputError("the dataset has no rows")
    return datasets.Dataset.from_list(rows, features=ds.features)


def _from_torch(ds: Any, target: str | None, for_prediction: bool) -> Columns:
    from torch.utils.data import IterableDataset, TensorDataset

    if isinstance(ds, TensorDataset) and len(ds.tensors) == 2:
        return arrays.from_pair(*ds.tensors, target)
    if isinstance(ds, TensorDataset) and len(ds.tensors) == 1 and for_prediction:
        return arrays.from_inputs(ds.tensors[0])
    rows = list(ds) if isinstance(ds, IterableDataset) else [ds[i] for i in range(len(ds))]
    if for_prediction and rows and not isinstance(rows[0], tuple | list | dict):
        return arrays.from_inputs(rows)
    return from_rows(rows)
