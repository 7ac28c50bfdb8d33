"""Digests of rows by their decoded content, and fingerprints of data and of a split.

A row's digest leaves its label out: with the label in it, a duplicate under another label would
pass as clean. What counts as equal content:

- image: the same decoded pixels of the same type and shape; a colour image whose three channels are
  equal is the grey image that it shows, and a float image whose values are all n/255 is the 8-bit
  image that it was made from;
- text: the same characters after NFKC, case folding and collapsing of white space;
- series: the same numbers, as float32, in the same steps and channels;
- words: the same words in the same order, to the letter;
- table: the same values under the same column names, in any column order. Numbers compare as
  numbers (1 is 1.0 and True; -0.0 is 0.0), every missing value is one value, everything else
  compares as its string.

Digests are 128 bits wide, so a chance collision is out of the question; they are no defence against
somebody who constructs one.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from mlexpert.data.examples import Examples

if TYPE_CHECKING:
    import pandas as pd

    from mlexpert.data.images import Images

_MISSING = np.array([0x6D697373696E6731, 0x6D697373696E6732], dtype=np.uint64)
_LANES = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], dtype=np.uint64)


def row_digests(examples: Examples) -> np.ndarray:
    """Digest the content of every row, without its label.

    Args:
        examples: Rows (N,) of any kind.

    Returns:
        (N, 2) uint64, equal for two rows exactly when their inputs are equal in the sense of this
        module.
    """
    inputs: Any = examples.inputs
    if examples.kind == "image":
        return _pack(_image_bytes(inputs))
    if examples.kind == "text":
        return _pack(_normalised(str(text)).encode("utf-8", "surrogatepass") for text in inputs)
    if examples.kind == "series":
        return _pack(f"{one.shape}".encode() + one.tobytes() for one in inputs)
    if examples.kind == "words":
        return _pack("\x1f".join(words).encode("utf-8", "surrogatepass") for words in inputs)
    return _table_digests(inputs)


def fingerprint(
    parts: Mapping[str, Examples], digests: Mapping[str, np.ndarray] | None = None
) -> str:
    """Name the data: its rows with their labels, as a multiset.

    Neither the order of rows nor the division into parts matters, so that a ledger keyed by this
    follows the data through every way of splitting it. Groups, times and subgroups are left out.

    Args:
        parts: The rows of each part.
        digests: `row_digests` of each part where they are known already.

    Returns:
        64 hexadecimal digits.
    """
    rows = [
        _labelled(part, None if digests is None else digests[name]) for name, part in parts.items()
    ]
    kinds = sorted({part.kind for part in parts.values()})
    return _multiset_hash(np.concatenate(rows), ",".join(kinds))


def split_fingerprint(
    parts: Mapping[str, Examples], digests: Mapping[str, np.ndarray] | None = None
) -> str:
    """Name a split: which labelled rows are in which part.

    Args:
        parts: The rows of each part, by the part's name.
        digests: `row_digests` of each part where they are known already.

    Returns:
        64 hexadecimal digits, the same for any order of rows within a part.
    """
    lines = []
    for name in sorted(parts):
        rows = _labelled(parts[name], None if digests is None else digests[name])
        lines.append(f"{name} {_multiset_hash(rows, parts[name].kind)}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def number_rows(*digests: np.ndarray) -> list[np.ndarray]:
    """Number the distinct rows of several digest arrays together.

    Args:
        digests: Arrays (N_i, 2) of digests.

    Returns:
        For each array (N_i,) int64: two rows, of whichever arrays, have the same number exactly
        when they are equal.
    """
    stacked = np.concatenate(digests)
    order = np.lexsort((stacked[:, 1], stacked[:, 0]))
    ordered = stacked[order]
    new = np.ones(len(stacked), dtype=np.int64)
    new[:1] = 0
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    numbers = np.empty(len(stacked), dtype=np.int64)
    numbers[order] = np.cumsum(new)
    return np.split(numbers, np.cumsum([len(part) for part in digests])[:-1])


def _pack(contents: Iterable[bytes]) -> np.ndarray:
    joined = b"".join(hashlib.blake2b(content, digest_size=16).digest() for content in contents)
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64).reshape(-1, 2)


def _normalised(text: str) -> str:
    if text.isascii():
        return " ".join(text.lower().split())
    # Folding can undo the normal form (and NFKC can bring capitals back), hence once more.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def _image_bytes(images: Images) -> Iterable[bytes]:
    stack = images.stack()  # floats as they are: 8 bits would merge faint images
    for index in range(len(images)):
        yield _pixel_bytes(images.decode(index) if stack is None else stack[index])


def _pixel_bytes(pixels: np.ndarray) -> bytes:
    if pixels.shape[-1] == 3:
        first = pixels[..., 0]
        if np.array_equal(first, pixels[..., 1]) and np.array_equal(first, pixels[..., 2]):
            pixels = pixels[..., :1]
    if pixels.dtype.kind == "f":
        levels = np.rint(pixels * 255.0)
        if np.abs(pixels * 255.0 - levels).max(initial=0.0) < 1e-3:
            pixels = levels.astype(np.uint8)
    return f"{pixels.dtype.str}{pixels.shape}".encode() + pixels.tobytes()


def _table_digests(frame: pd.DataFrame) -> np.ndarray:
    total = np.zeros((len(frame), 2), dtype=np.uint64)
    for name, column in frame.items():
        # Each column has its own key, so the sum is blind to the order of columns and not to an
        # exchange of values.
        total += _mix(_value_digests(column) ^ _pack([f"column {name}".encode()]))
    return _mix(total)


def _value_digests(column: pd.Series) -> np.ndarray:
    """Digest the values (N,) of a column; the type of the column does not matter."""
    import pandas as pd

    dtype = column.dtype
    if pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_numeric_dtype(dtype):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        result = _number_digests(values)
        if pd.api.types.is_integer_dtype(dtype):
            wide = np.flatnonzero(np.abs(values) > 2.0**53)  # where float64 would merge neighbours
            if len(wide):
                result[wide] = _scalar_digests(column.iloc[wide])
        return result
    codes, uniques = pd.factorize(column)
    # Code -1 is a missing value, and takes the last.
    return np.concatenate([_scalar_digests(uniques), _MISSING[None]])[codes]


def _scalar_digests(values: Iterable) -> np.ndarray:
    values = list(values)
    numbers = np.full(len(values), np.nan)
    texts = []
    for row, value in enumerate(values):
        if isinstance(value, Real | Decimal | np.bool_) and _fits_float(value):
            numbers[row] = float(value)
        else:
            texts.append(row)
    result = _number_digests(numbers)
    if texts:
        result[texts] = _pack(str(values[row]).encode("utf-8", "surrogatepass") for row in texts)
    return result


def _fits_float(value) -> bool:
    try:
        # A Decimal such as 0.1 is no float exactly, yet is the same number to whoever wrote it.
        return isinstance(value, Decimal) or float(value) == value
    except OverflowError:
        return False


def _number_digests(values: np.ndarray) -> np.ndarray:
    bits = (values + 0.0).view(np.uint64)  # adding 0.0 turns -0.0 into 0.0
    result = _mix(bits[:, None] + _LANES)
    result[np.isnan(values)] = _MISSING
    return result


def _mix(words: np.ndarray) -> np.ndarray:
    """Scramble 64-bit words one to one (the finaliser of splitmix64)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _labelled(examples: Examples, digests: np.ndarray | None) -> np.ndarray:
    """Return (N, 4): the digest of each row beside the digest of its label."""
    import pandas as pd

    digests = row_digests(examples) if digests is None else digests
    if examples.targets is None:
        return np.concatenate([digests, np.zeros_like(digests)], axis=1)
    codes, uniques = pd.factorize(np.asarray(examples.targets))
    labels = np.concatenate([_scalar_digests(uniques), _MISSING[None]])[codes]
    return np.concatenate([digests, labels], axis=1)


def _multiset_hash(rows: np.ndarray, kind: str) -> str:
    ordered = rows[np.lexsort(rows.T)]
    digest = hashlib.sha256(f"mlexpert data 1 {kind} {len(rows)}\n".encode())
    digest.update(ordered.astype("<u8").tobytes())
    return digest.hexdigest()
