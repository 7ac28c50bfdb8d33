"""Statistics of training images: sizes, channels, moments of pixels and of 2x2 patches."""

from __future__ import annotations

import numpy as np

from mlexpert.data.images import Images
from mlexpert.data.pixels import to_channels
from mlexpert.data.schema import ImageStats

IMAGE_SAMPLE = 5_000  # images that mean and deviation are computed on
PATCH_SAMPLE = 1_000  # of these, images that the moments of patches are computed on
PATCH_PIXELS = 4_000_000  # pixels in all for these moments, so that large images take no longer
MIN_STD = 1e-3  # a channel that is constant in training is centred, and not blown up


def describe_images(images: Images) -> ImageStats:
    """Describe training images by a sample of them, evenly spaced over the rows.

    Raises:
        InputError: They are of 16 bits and use a small part of these.
    """
    channels, height, width, uniform = _sizes(images)
    rows = _spaced(len(images), IMAGE_SAMPLE)
    few = min(PATCH_SAMPLE, max(PATCH_PIXELS // (height * width), 1))
    patched = set(rows[_spaced(len(rows), few)]) if uniform and min(height, width) > 1 else set()
    stack = images.stack()
    total, squares, count = np.zeros(channels), np.zeros(channels), 0
    patch_total, products, num_patches = np.zeros(4 * channels), np.zeros((4 * channels,) * 2), 0
    for row in rows:
        decoded = images.decode(row) if stack is None else stack[row]
        image = to_channels(decoded, channels).astype(np.float64)
        flat = image.reshape(-1, channels)
        total += flat.sum(axis=0)
        squares += (flat * flat).sum(axis=0)
        count += len(flat)
        if row in patched:
            patches = _patches(image)
            patch_total += patches.sum(axis=1)
            products += patches @ patches.T
            num_patches += patches.shape[1]
    images.require_full_range()
    scale = 1.0 if images.is_float else 255.0
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    covariance: tuple[tuple[float, ...], ...] = ()
    if num_patches:
        center = np.repeat(mean, 4)
        spread = np.repeat(np.maximum(std, MIN_STD * scale), 4)
        cross = np.outer(center, patch_total / num_patches)
        moments = products / num_patches - cross - cross.T + np.outer(center, center)
        covariance = tuple(map(tuple, (moments / np.outer(spread, spread)).tolist()))
    return ImageStats(
        channels,
        height,
        width,
        uniform,
        tuple((mean / scale).tolist()),
        tuple((std / scale).tolist()),
        covariance,
    )


def _sizes(images: Images) -> tuple[int, int, int, bool]:
    """Return channels, height and width, and whether all images have that size.

    Where they have not, height and width are the medians.
    """
    stack = images.stack()
    if stack is not None:
        height, width, channels = stack.shape[1:]
        return channels, height, width, True
    shapes = np.asarray([images.shape(i) for i in range(len(images))])
    height, width = np.median(shapes[:, :2], axis=0).round().astype(int).tolist()
    return int(shapes[:, 2].max()), height, width, bool((shapes[:, :2] == shapes[0, :2]).all())


def _spaced(num: int, most: int) -> np.ndarray:
    """Return at most `most` of the rows 0..num-1, evenly spaced."""
    return np.unique(np.linspace(0, num - 1, most).round().astype(int))


def _patches(image: np.ndarray) -> np.ndarray:
    """Return all 2x2 patches of an image (H, W, C) as columns (4C, P), as torch's unfold orders."""
    height, width = image.shape[:2]
    corners = [image[i : height - 1 + i, j : width - 1 + j] for i in (0, 1) for j in (0, 1)]
    return np.stack(corners, axis=-1).reshape(-1, 4 * image.shape[2]).T
