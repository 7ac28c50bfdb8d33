"""Pixels of one image: any mode of Pillow as uint8 (H, W, C) with one or three channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

GREY_MODES = frozenset({"1", "L", "LA", "La", "F", "I", "I;16", "I;16L", "I;16B", "I;16N"})
FRAMED = frozenset({"GIF", "PNG", "WEBP", "TIFF"})
MAX_16_BIT = 65_535
ROTATED = frozenset({5, 6, 7, 8})  # EXIF orientations that exchange height and width
_ORIENTATION_TAG = 0x0112


def pixels_of(image: Image.Image) -> np.ndarray:
    """Return the upright pixels of a Pillow image, uint8 (H, W, C) with C = 1 or 3.

    Transparency is laid on white, because the colour under a transparent pixel is arbitrary. 16-bit
    grey is scaled to 8 bits.

    Raises:
        ValueError: It has no pixels, or values of a float or 32-bit image are outside what they can
            be scaled from.
    """
    require_pixels(image)
    image.load()
    image = _upright(image)
    mode = image.mode
    if mode in ("L", "RGB"):
        array = np.asarray(image)
    elif mode.startswith("I"):
        array = from_16_bit(np.asarray(image))
    elif mode == "F":
        array = unit_to_bytes(np.asarray(image))
    elif mode == "1":
        array = np.asarray(image.convert("L"))
    elif "A" in mode or "a" in mode or "transparency" in image.info:
        array = flatten_alpha(np.asarray(image.convert("RGBA")))
        array = array[:, :, :1] if mode in GREY_MODES else array
    else:
        array = np.asarray(image.convert("RGB"))
    return array[:, :, None] if array.ndim == 2 else array


def require_pixels(image: Image.Image) -> None:
    """Raise a `ValueError` where height or width is 0."""
    if 0 in image.size:
        raise ValueError(f"it is {image.width} x {image.height} pixels, which is nothing")


def is_animated(image: Image.Image) -> bool:
    """Return whether an image has frames or pages behind the one that is open."""
    # Not asked of others: the further pictures of an MPO, as phones write it, are previews.
    return image.format in FRAMED and bool(getattr(image, "is_animated", False))


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) where there is none that can be read."""
    if "exif" not in image.info and image.format not in ("TIFF", "MPO"):
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a broken EXIF block does not make the pixels unreadable
        return 1


def _upright(image: Image.Image) -> Image.Image:
    if orientation_of(image) == 1:
        return image
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def from_16_bit(array: np.ndarray) -> np.ndarray:
    """Return integers in 0..65535 as uint8, rounded.

    Raises:
        ValueError: A value is outside that range.
    """
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > MAX_16_BIT:
        raise ValueError(f"integer pixels from {low} to {high}; they must lie in 0..{MAX_16_BIT}")
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)


def unit_to_bytes(array: np.ndarray) -> np.ndarray:
    """Return floats in [0, 1] as uint8, rounded.

    Raises:
        ValueError: A value is missing, infinite or outside [0, 1].
    """
    problem = unit_problem(array)
    if problem:
        raise ValueError(problem)
    return np.rint(array * 255.0).astype(np.uint8)


def unit_problem(array: np.ndarray) -> str | None:
    """Say what keeps a float array from being pixels in [0, 1], or return None."""
    if array.size == 0:
        return None
    low, high = float(array.min()), float(array.max())  # NaN anywhere makes both NaN
    if not np.isfinite(low) or not np.isfinite(high):
        bad = int(np.count_nonzero(~np.isfinite(array)))
        return f"{bad} pixel value(s) are NaN or infinite"
    if low < 0.0 or high > 1.0:
        hint = "divide by 255" if low >= 0 and high <= 255 else "undo any normalisation"
        return f"float pixels run from {low:.4g} to {high:.4g}; they must lie in [0, 1]: {hint}"
    return None


def flatten_alpha(array: np.ndarray) -> np.ndarray:
    """Lay RGBA pixels, uint8 or float in [0, 1] of shape (..., 4), on white."""
    color, alpha = array[..., :3], array[..., 3:]
    if array.dtype == np.uint8:
        wide, cover = color.astype(np.uint32), alpha.astype(np.uint32)
        return ((wide * cover + 255 * (255 - cover) + 127) // 255).astype(np.uint8)
    return color * alpha + (1.0 - alpha)


def to_channels(array: np.ndarray, channels: int) -> np.ndarray:
    """Return pixels (..., C) with other channels: grey is repeated, colour becomes luma (601)."""
    if array.shape[-1] == channels:
        return array
    if channels == 3:
        return np.broadcast_to(array, (*array.shape[:-1], 3))
    if array.dtype == np.uint8:
        # The integer weights that Pillow uses for convert("L"), so that both ways give equal
        # pixels.
        weights = np.array([19_595, 38_470, 7_471], dtype=np.uint32)
        return ((array.astype(np.uint32) @ weights + 0x8000) >> 16).astype(np.uint8)[..., None]
    return (array @ np.array([0.299, 0.587, 0.114], dtype=array.dtype))[..., None]


def resize(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return uint8 pixels (H, W, C) of another size (height, width), bilinear and antialiased.

    The whole image is kept: where the proportions differ it is stretched, never cropped.
    """
    if array.shape[:2] == size:
        return array
    from PIL import Image

    flat = array[:, :, 0] if array.shape[2] == 1 else array
    image = Image.fromarray(np.ascontiguousarray(flat))
    resized = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return resized[:, :, None] if resized.ndim == 2 else resized
