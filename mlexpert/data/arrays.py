"""Arrays, tensors and lists of inputs, with or without labels, as columns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlexpert.data.columns import Columns, from_frame, images_of, is_image, is_instance, unwrap
from mlexpert.data.images import Images
from mlexpert.data.label_sets import are_sets
from mlexpert.errors import InputError


def from_pair(x: Any, y: Any, target: str | None) -> Columns:
    """Bring inputs and their labels, or sets of labels, into columns.

    The labels' column is named `target`, else after the series `y`, else "y".

    Raises:
        InputError: The lengths differ, a shape is not that of inputs or labels, or a bare array or
            tensor holds NaN: there it is more often an accident than a missing value.
    """
    _refuse_nan(x)
    columns = from_inputs(x)
    labels = labels_of(y)
    if len(labels) != len(columns):
        raise InputError(
            f"X has {len(columns)} rows and y has {len(labels)}: they must be of the same length"
        )
    name = target or (str(y.name) if isinstance(y, pd.Series) and y.name is not None else "y")
    while name in columns.order:
        name += "_"
    order = (*columns.order, name)
    if not isinstance(labels, pd.Series) or are_sets(labels):
        held = f"values of type {type(labels).__name__}"
        opaque, sets = {**columns.opaque, name: held}, {**columns.label_sets, name: labels}
        return replace(columns, opaque=opaque, label_sets=sets, order=order, target=name)
    frame = columns.frame.copy(deep=False)
    frame[name] = labels
    return replace(columns, frame=frame, order=order, target=name)


def _refuse_nan(x: Any) -> None:
    array = x if isinstance(x, pd.DataFrame | pd.Series) else unwrap(x)
    if not (isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.kind == "f"):
        return
    rows, names = np.nonzero(np.isnan(array))
    if len(rows):
        raise InputError(
            f"X holds NaN in {len(rows)} place(s), first in column 'x{names[0]}' of row {rows[0]}. "
            "If they are missing values, say so by passing a DataFrame, pd.DataFrame(X): there "
            "they are handled. Otherwise mend them"
        )


def labels_of(y: Any) -> Any:
    """Return labels as a series, or as a frame (N, K) of 0 and 1 where there are several columns.

    Raises:
        InputError: There are several columns of something else.
    """
    if isinstance(y, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        return pd.Series(y).reset_index(drop=True)
    y = unwrap(y)
    if isinstance(y, pd.DataFrame):
        if len(y.columns) > 1:
            return _zeros_and_ones(y.reset_index(drop=True))
        y = y.to_numpy()
    if not isinstance(y, np.ndarray):
        if isinstance(y, str | bytes | dict) or not is_sequence(y):
            raise InputError(f"y is a {type(y).__name__}: give one label for each row of X")
        values = [unwrap(value) for value in y]
        y = np.empty(len(values), dtype=object)  # np.array would turn (1, "a") into strings
        y[:] = values
        return pd.Series(y, dtype=object).infer_objects()
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2:
        return _zeros_and_ones(pd.DataFrame(y))
    if y.ndim != 1:
        raise _wrong_shape(y.shape)
    return pd.Series(y)


def _zeros_and_ones(y: pd.DataFrame) -> pd.DataFrame:
    plain = y.astype(object)
    if not (plain.isin([0, 1]) | y.isna()).all(axis=None):
        raise _wrong_shape(y.shape)
    return y


def _wrong_shape(shape: tuple[int, ...]) -> InputError:
    return InputError(
        f"y has shape {shape}: give one label (or number) a row, shape (N,), or where a row has "
        "several labels 0 and 1 for each of K labels, shape (N, K)"
    )


def is_sequence(value: Any) -> bool:
    """Return whether a value is a list, a tuple, an array, a series or a tensor."""
    return isinstance(value, list | tuple | np.ndarray | pd.Series | pd.Index) or is_instance(
        value, "torch", "Tensor"
    )


def from_inputs(x: Any) -> Columns:
    """Bring inputs without labels into columns.

    Two dimensions are a table with columns x0, x1, ...; three and four are images; a list of
    strings is text.

    Raises:
        InputError: Nothing of this form is known.
    """
    if isinstance(x, pd.DataFrame):
        return from_frame(x)
    if isinstance(x, pd.Series):
        if x.dtype.kind in "biuf":
            raise InputError(
                "X is one series of numbers: one row of a frame is frame.iloc[[i]], one column "
                "frame[[name]]"
            )
        x = x.tolist()
    tensor = is_instance(x, "torch", "Tensor")
    x = unwrap(x)
    if isinstance(x, list | tuple):
        return _from_list(list(x))
    if not isinstance(x, np.ndarray):
        raise InputError(
            f"inputs of type {type(x).__name__} are not known: give an array, a tensor, a "
            f"DataFrame, a list of strings or images{_instead_of(x)}"
        )
    if x.ndim == 1 and x.dtype.kind in "UOS":
        return _from_list(x.tolist())
    if x.ndim == 2:
        return _from_matrix(x)
    if x.ndim == 3 and x.shape[2] in (1, 3, 4) and x.shape[1:] != (1, 1):
        raise InputError(f"X of shape {x.shape} looks like one image: a stack of one is X[None]")
    if x.ndim in (3, 4):
        images = Images.from_array(x, channels_first=tensor)
        return _image_columns(images)
    hint = ": one feature is X.reshape(-1, 1), one row X.reshape(1, -1)" if x.ndim == 1 else ""
    raise InputError(
        f"X of shape {x.shape} is neither a table (N, D) nor images (N, H, W, C){hint}"
    )


def _instead_of(x: Any) -> str:
    """Return what to give instead of a form that is often met and not taken."""
    if "scipy.sparse" in str(type(x)):
        return " (a sparse matrix: X.toarray())"
    if is_image(x):
        return " (one image: [image])"
    loader = is_instance(x, "torch.utils.data", "DataLoader")
    return " (a DataLoader: loader.dataset)" if loader else ""


def _from_list(values: list[Any]) -> Columns:
    values = [unwrap(value) for value in values]
    if not values:
        raise InputError("X is empty")
    first = next((value for value in values if value is not None), None)
    if isinstance(first, str):
        wrong = next(
            (i for i, v in enumerate(values) if not (v is None or isinstance(v, str | float))), None
        )
        if wrong is not None:
            raise InputError(
                f"X holds strings and, in row {wrong}, a {type(values[wrong]).__name__}"
            )
        frame = pd.DataFrame({"x": pd.Series(values, dtype=object)})
        return Columns(frame, order=("x",), kind="text")
    if is_image(first) or isinstance(first, Path):
        return _image_columns(
            Images.from_items(values) if isinstance(first, Path) else images_of(values, "x")
        )
    shapes = {value.shape if isinstance(value, np.ndarray) else None for value in values}
    if isinstance(first, np.ndarray) and first.ndim >= 2 and None not in shapes:
        several = len(shapes) > 1
        return _image_columns(
            Images.from_items(values) if several else Images.from_array(np.stack(values))
        )
    if all(isinstance(value, list | tuple) for value in values):
        widths = {len(value) for value in values}
        if len(widths) > 1:
            raise InputError(f"the rows of X differ in length: {min(widths)} to {max(widths)}")
        if not any(isinstance(cell, list | tuple) for cell in values[0]):
            names = pd.Index([f"x{j}" for j in range(*widths)], dtype=object)
            return from_frame(pd.DataFrame(values, columns=names))  # keeps each column's own type
    try:
        array = np.asarray(values)
    except ValueError as error:  # ragged rows
        raise InputError(f"the rows of X differ in length: {error}") from error
    if array.ndim < 2:
        raise InputError(
            f"X is a list of {type(first).__name__}: give rows of features, strings or images"
        )
    return from_inputs(array)


def _from_matrix(x: np.ndarray) -> Columns:
    names = [f"x{j}" for j in range(x.shape[1])]
    if x.dtype.kind in "US":
        x = x.astype(object)
    frame = pd.DataFrame(x, columns=pd.Index(names, dtype=object), copy=False)
    if x.dtype == object:
        frame = frame.infer_objects()
    return from_frame(frame)


def _image_columns(images: Images) -> Columns:
    frame = pd.DataFrame(index=pd.RangeIndex(len(images)))
    return Columns(frame, {"x": images}, order=("x",), kind="image")
