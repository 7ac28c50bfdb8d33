"""Examples as tensors: what a model reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mlexpert.data.images import Images
from mlexpert.data.label_sets import labels_in
from mlexpert.data.nearest import listing
from mlexpert.data.pixels import resize, to_channels
from mlexpert.data.schema import Column, Numeric, Schema
from mlexpert.data.table import as_categories, as_numeric
from mlexpert.data.tokenizer import token_ids
from mlexpert.errors import InputError

MISSING_CODE, UNSEEN_CODE, FIRST_CODE = 0, 1, 2


def encode_images(images: Images, *, size: tuple[int, int], channels: int) -> Tensor:
    """Return images (N, C, H, W) of one size, uint8.

    They are float32 in [0, 1] where the source is a stack of floats.

    An image of another size is stretched to it, bilinear and antialiased; grey is repeated and
    colour becomes luma where the channels differ. A stack of this very size is not copied, so the
    strides may be those of (N, H, W, C).

    Args:
        images: The images.
        size: Height and width in pixels.
        channels: 1 or 3.

    Raises:
        InputError: An image cannot be decoded (named), or the arguments are not a size.
    """
    if channels not in (1, 3) or min(size) < 1:
        raise InputError(
            f"images of size {size} with {channels} channels cannot be made; channels are 1 or 3"
        )
    size = (int(size[0]), int(size[1]))
    stack = images.stack()
    if stack is not None and (stack.shape[1:3] == size or images.is_float):
        if channels < stack.shape[3]:
            stack = to_channels(stack, channels)
        tensor = _as_tensor(stack).permute(0, 3, 1, 2).expand(-1, channels, -1, -1)
        return tensor if stack.shape[1:3] == size else _resize_floats(tensor, size)
    out = np.empty((len(images), *size, channels), dtype=np.uint8)
    for i in range(len(images)):
        out[i] = to_channels(resize(images.decode(i), size), channels)
    return torch.from_numpy(out).permute(0, 3, 1, 2)


def _as_tensor(array: np.ndarray) -> Tensor:
    """Return an array as a tensor on the same memory, copied only where torch could not hold it."""
    ready = array.flags.writeable and all(stride > 0 for stride in array.strides)
    return torch.from_numpy(array if ready else array.copy())


def _resize_floats(images: Tensor, size: tuple[int, int]) -> Tensor:
    out = torch.empty((*images.shape[:2], *size))
    for rows in torch.arange(len(images)).split(1_024):
        out[rows] = torch.nn.functional.interpolate(
            images[rows], size=size, mode="bilinear", antialias=True, align_corners=False
        )
    return out.clamp_(0.0, 1.0)


def encode_table(frame: pd.DataFrame, columns: Sequence[Column]) -> Tensor:
    """Return a table (N, D) as float32 in the order of `columns`.

    Numbers stay, less their column's offset, missing as NaN. Categories become codes: 0 missing, 1
    unseen in training, 2 onwards in the schema's order.

    Raises:
        InputError: A column is missing, or a value of a numeric column is no finite number.
    """
    absent = [column.name for column in columns if column.name not in frame.columns]
    if absent:
        raise InputError(
            f"column(s) {listing(absent)} are missing; columns: {listing(frame.columns)}"
        )
    out = np.empty((len(frame), len(columns)), dtype=np.float32)
    for j, column in enumerate(columns):
        series = frame[column.name]
        if isinstance(column, Numeric):
            out[:, j] = as_numeric(series).to_numpy() - column.offset
            continue
        series = as_categories(series)
        codes = pd.Index(column.categories, dtype="str").get_indexer(series) + FIRST_CODE
        codes[codes < FIRST_CODE] = UNSEEN_CODE
        codes[series.isna().to_numpy()] = MISSING_CODE
        out[:, j] = codes
    return torch.from_numpy(out)


def encode_texts(texts: Sequence[str], tokenizer: str, max_length: int) -> tuple[Tensor, Tensor]:
    """Return the token ids of all texts in one row, and where each text begins.

    Args:
        texts: (N,) texts.
        tokenizer: JSON of a `tokenizers.Tokenizer`.
        max_length: Tokens of a text to keep, the start token included.

    Returns:
        Ids (T,) int32, and offsets (N + 1,) int64: text i is ids[offsets[i] : offsets[i + 1]].

    Raises:
        InputError: `max_length` is less than 1.
    """
    if max_length < 1:
        raise InputError(f"max_length is {max_length}; a text keeps at least 1 token")
    lengths = np.zeros(len(texts) + 1, dtype=np.int64)
    pieces: list[np.ndarray] = []
    for i, ids in enumerate(token_ids(texts, tokenizer, max_length)):
        lengths[i + 1] = len(ids)
        pieces.append(np.asarray(ids, dtype=np.int32))
    flat = np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int32)
    return torch.from_numpy(flat), torch.from_numpy(lengths.cumsum())


def encode_targets(targets: np.ndarray | None, schema: Schema) -> Tensor:
    """Return targets as a model's loss takes them.

    Returns:
        Classes as indices (N,), int64; sets of labels as 0 and 1 (N, K), float32; numbers
        standardised by the training rows' mean and deviation (N,), float32.

    Raises:
        InputError: There are no targets, or a label is not among those of training (named).
    """
    if targets is None:
        raise InputError("these rows have no labels: name their column with target=")
    if schema.objective == "regression":
        stats = schema.values
        assert stats is not None, "a schema for regression describes its values"
        return torch.from_numpy(((targets - stats.mean) / stats.std).astype(np.float32))
    if schema.objective == "classification":
        return torch.from_numpy(_codes(targets, schema))
    lengths = np.fromiter(map(len, targets), np.int64, len(targets))
    rows = np.repeat(np.arange(len(targets)), lengths)
    out = torch.zeros(len(targets), schema.num_classes)
    out[rows, _codes(labels_in(targets), schema)] = 1.0
    return out


def encode_weights(weights: np.ndarray | None) -> Tensor | None:
    """Return weights (N,) of mean 1, so that a learning rate means what it does without them."""
    return None if weights is None else torch.from_numpy((weights / weights.mean()).astype("f4"))


def _codes(labels: np.ndarray, schema: Schema) -> np.ndarray:
    """Return the indices (N,) of labels (N,) among the classes."""
    index = {(isinstance(label, str), label): k for k, label in enumerate(schema.classes)}
    values, inverse = np.unique(labels, return_inverse=True)
    distinct = values.tolist()
    unknown = [label for label in distinct if (isinstance(label, str), label) not in index]
    if unknown:
        raise InputError(
            f"label(s) {listing(unknown)} are not among the classes of training: "
            f"{listing(schema.classes)}"
        )
    codes = [index[isinstance(label, str), label] for label in distinct]
    return np.asarray(codes, dtype=np.int64)[inverse]
