"""Images of a dataset, decoded when they are needed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlexpert.data import pixels
from mlexpert.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

CACHE_BYTES = (
    256 * 2**20
)  # decoded pixels kept, so that hashing, statistics and encoding decode small images once
CHANNEL_COUNTS = (1, 3, 4)


class Images:
    """Images in the order of their rows; a selection shares the content of what it is made from.

    Make them with `from_array` (one stack) or `from_items` (each on its own). An image is decoded
    when it is asked for, and small ones are kept.
    """

    def __init__(self, source: _Stack | _Items, rows: np.ndarray | None = None) -> None:
        self._source = source
        self._rows = rows  # None: all rows in order

    @classmethod
    def from_array(cls, array: np.ndarray, *, channels_first: bool = False) -> Images:
        """Make images of one stack, uint8 or float in [0, 1], without copying it.

        Args:
            array: (N, H, W), (N, H, W, C) or (N, C, H, W), with C = 1, 3 or 4. Four channels are
                laid on white.
            channels_first: Where both axes could hold the channels, take the first one.

        Raises:
            InputError: The shape, the type or the range of the values are not those of images.
        """
        return cls(_Stack(_checked_stack(array, channels_first)))

    @classmethod
    def from_items(cls, items: Sequence[Any]) -> Images:
        """Make images of a sequence whose items each hold one.

        An item is a Pillow image, encoded bytes, a path, an array (H, W[, C]), or a dict of "bytes"
        and "path". The sequence is read row by row when a row is needed, so it may be a
        memory-mapped column.
        """
        return cls(_Items(items))

    def __len__(self) -> int:
        return len(self._source) if self._rows is None else len(self._rows)

    def __getitem__(self, indices: np.ndarray) -> Images:
        """Return the images at `indices` (N',), integers or a mask."""
        indices = np.asarray(indices)
        if indices.dtype == np.bool_:
            indices = np.flatnonzero(indices)
        if self._rows is not None:
            return Images(self._source, self._rows[indices])
        if indices.size and not -len(self) <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"there are {len(self)} images, and no row {int(indices.max())}")
        return Images(self._source, np.where(indices < 0, indices + len(self), indices))

    def _row(self, i: int) -> int:
        return int(i) if self._rows is None else int(self._rows[i])

    @property
    def is_float(self) -> bool:
        """Whether the source is one stack of floats, which encoding keeps."""
        return isinstance(self._source, _Stack) and self._source.array.dtype != np.uint8

    def stack(self) -> np.ndarray | None:
        """Return the pixels (N, H, W, C), uint8 or float32, where the source is one stack."""
        if not isinstance(self._source, _Stack):
            return None
        return self._source.array if self._rows is None else self._source.array[self._rows]

    def item(self, i: int) -> Any:
        """Return what image `i` is made from: one of the items that `from_items` takes."""
        source = self._source
        return (source.array if isinstance(source, _Stack) else source.items)[self._row(i)]

    def decode(self, i: int) -> np.ndarray:
        """Return the pixels of image `i`, upright, uint8 (H, W, C) with C = 1 or 3.

        Raises:
            InputError: It cannot be decoded; the message names its file or row.
        """
        return self._source.decode(self._row(i))

    def shape(self, i: int) -> tuple[int, int, int]:
        """Return height, width and channels (1 or 3) of image `i`, without decoding it."""
        return self._source.shape(self._row(i))

    def name(self, i: int) -> str:
        """Return how a message speaks of image `i`: its file where it has one, and its row."""
        return self._source.name(self._row(i))

    def require_full_range(self) -> None:
        """Refuse 16-bit images of which too few grey levels are left once they are of 8 bits.

        Raises:
            InputError: None that was decoded is brighter than a quarter of what 16 bits hold.
        """
        self._source.require_full_range()

    def corrupt(self) -> list[int]:
        """Return the images that cannot be decoded, found as cheaply as their format allows."""
        return [i for i in range(len(self)) if not self._source.intact(self._row(i))]


class _Stack:
    """Images of one size in one array (N, H, W, C)."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def decode(self, row: int) -> np.ndarray:
        image = self.array[row]
        return image if image.dtype == np.uint8 else pixels.unit_to_bytes(image)

    def shape(self, row: int) -> tuple[int, int, int]:
        height, width, channels = self.array.shape[1:]
        return height, width, channels

    def name(self, row: int) -> str:
        return f"image in row {row}"

    def intact(self, row: int) -> bool:
        return True

    def require_full_range(self) -> None:
        """Nothing to refuse: values were checked as the stack was made."""


class _Items:
    """Images that each stand on their own, of any size and mode."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items
        self._decoded: dict[int, np.ndarray] = {}
        self._decoded_bytes = 0
        self._said_animated = False
        self._brightest: int | None = None  # of the 16-bit images decoded so far

    def __len__(self) -> int:
        return len(self.items)

    def decode(self, row: int) -> np.ndarray:
        known = self._decoded.get(row)
        if known is not None:
            return known
        content = _content(self.items[row])
        try:
            if isinstance(content, np.ndarray):
                return _checked_image(content)
            with _open(content) as image:
                if not self._said_animated and pixels.is_animated(image):
                    self._say_animated(row)
                array = pixels.pixels_of(image)
                if image.mode.startswith("I"):
                    self._brightest = max(self._brightest or 0, int(np.asarray(image).max()))
        except InputError as error:
            raise InputError(f"{self.name(row)}: {error}") from error
        except _decoding_errors() as error:
            raise InputError(
                f"{self.name(row)} cannot be decoded ({error}): repair or remove it"
            ) from error
        if isinstance(content, bytes | Path) and self._decoded_bytes + array.nbytes <= CACHE_BYTES:
            self._decoded[row] = array
            self._decoded_bytes += array.nbytes
        return array

    def shape(self, row: int) -> tuple[int, int, int]:
        known = self._decoded.get(row)
        content = None if known is not None else _content(self.items[row])
        if known is not None or isinstance(content, np.ndarray):
            height, width, channels = self.decode(row).shape
            return height, width, channels
        try:
            with _open(content) as image:
                width, height = image.size
                if pixels.orientation_of(image) in pixels.ROTATED:
                    width, height = height, width
                grey = image.mode in pixels.GREY_MODES
                pixels.require_pixels(image)
        except _decoding_errors():
            height, width, channels = self.decode(row).shape  # raises what is wrong, by name
            return height, width, channels
        return height, width, 1 if grey else 3

    def require_full_range(self) -> None:
        brightest = self._brightest
        if brightest is None or brightest > pixels.MAX_16_BIT // 4:
            return
        bits = max(8, brightest.bit_length())
        if bits == 8:
            way = "store them as 8-bit images"
        else:
            way = f"they look like {bits}-bit values: multiply them by {2 ** (16 - bits)}"
        raise InputError(
            f"the 16-bit images hold values up to {brightest} of {pixels.MAX_16_BIT}, of which "
            f"{pixels.from_16_bit(np.array([brightest]))[0] + 1} grey level(s) would be left in 8 "
            f"bits: {way}"
        )

    def _say_animated(self, row: int) -> None:
        self._said_animated = True
        warnings.warn(
            f"{self.name(row)} is animated or has several pages: the first one is taken, of it and "
            "of others like it",
            stacklevel=3,
        )

    def name(self, row: int) -> str:
        item = self.items[row]
        path = item.get("path") if isinstance(item, dict) else item
        named = isinstance(path, str | Path)
        return f"image {str(path)!r} (row {row})" if named else f"image in row {row}"

    def intact(self, row: int) -> bool:
        content = _content(self.items[row])
        if isinstance(content, np.ndarray):
            return True
        try:
            with _open(content) as image:
                pixels.require_pixels(image)
                if image.format == "PNG":
                    image.verify()  # checks the sums of all chunks without inflating them
                else:
                    image.draft("L", (8, 8))  # JPEG: every block is read, 1 of 64 pixels is made
                    image.load()
        except _decoding_errors():
            return False
        return True


class ArrowColumn(Sequence[Any]):
    """A column of encoded images in an Arrow table, read row by row, the column never copied."""

    def __init__(self, column: Any) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, row: Any) -> Any:
        return self._column[int(row)].as_py()


def _content(item: Any) -> Any:
    """Return what an item holds: bytes, a path, an array or a Pillow image."""
    if isinstance(item, dict):
        item = item["bytes"] if item.get("bytes") is not None else item.get("path")
    if isinstance(item, str):
        return Path(item)
    return bytes(item) if isinstance(item, bytearray | memoryview) else item


def _open(content: Any) -> AbstractContextManager[Image.Image]:
    """Open encoded content for a `with` statement; a Pillow image of the user's stays open."""
    from PIL import Image

    if isinstance(content, bytes):
        return Image.open(io.BytesIO(content))
    return Image.open(content) if isinstance(content, Path) else nullcontext(content)


def _decoding_errors() -> tuple[type[Exception], ...]:
    import struct

    from PIL import Image

    # What Pillow's decoders raise for damaged bytes, beside OSError and its UnidentifiedImageError.
    damaged = (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, struct.error)
    return (*damaged, Image.DecompressionBombError)


def _checked_image(array: np.ndarray) -> np.ndarray:
    """Return one image (H, W[, C]) or (C, H, W) as uint8 (H, W, C)."""
    if array.ndim not in (2, 3) or array.size == 0:
        raise InputError(
            f"an array of shape {array.shape} is no image: give (H, W), (H, W, C) or (C, H, W), of "
            "a pixel at least"
        )
    stack = _checked_stack(array[None], channels_first=False)
    return stack[0] if stack.dtype == np.uint8 else pixels.unit_to_bytes(stack[0])


def _checked_stack(array: np.ndarray, channels_first: bool) -> np.ndarray:
    """Return (N, H, W, C) with one or three channels, uint8 or float32 in [0, 1]."""
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or 0 in array.shape[1:]:
        raise InputError(
            f"an array of shape {array.shape} is not a stack of images: "
            "give (N, H, W), (N, H, W, C) or (N, C, H, W)"
        )
    first, last = array.shape[1] in CHANNEL_COUNTS, array.shape[3] in CHANNEL_COUNTS
    if not first and not last:
        raise InputError(
            f"images of shape {array.shape[1:]} have no axis of 1, 3 or 4 channels: "
            "give (N, H, W, C) or (N, C, H, W)"
        )
    if first and (channels_first or not last):
        array = np.moveaxis(array, 1, 3)
    array = _checked_values(array)
    return pixels.flatten_alpha(array) if array.shape[3] == 4 else array


def _checked_values(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind in "iu":
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        if low < 0 or high > 255:
            raise InputError(
                f"integer pixels run from {low} to {high}; they must lie in 0..255: scale them, "
                "values of 16 bits by (pixels / 257).round().astype('uint8')"
            )
        return array.astype(np.uint8)
    if array.dtype.kind != "f":
        raise InputError(f"pixels of type {array.dtype}: give uint8, or floats in [0, 1]")
    problem = pixels.unit_problem(array)
    if problem:
        raise InputError(f"images: {problem}")
    return array.astype(np.float32, copy=False)
