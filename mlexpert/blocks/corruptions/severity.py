"""How strong a corruption is: one of five grades, each with its constant."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mlexpert.errors import InputError

SEVERITIES = (1, 2, 3, 4, 5)


def at_severity(constants: Sequence[float], severity: int) -> float:
    """Return the constant of a severity from 1 to 5.

    Raises:
        InputError: If it is another number.
    """
    if severity not in SEVERITIES:
        raise InputError(f"severity={severity!r}; it is one of 1, 2, 3, 4, 5.")
    return constants[severity - 1]


def require_images(images: Tensor, channels: Sequence[int] | None = None) -> None:
    """Refuse what is not a batch of images (B, C, H, W) of floats.

    Args:
        images: To be corrupted.
        channels: How many there may be; None for any number.

    Raises:
        InputError: Naming shape and type.
    """
    allowed = images.ndim == 4 and (channels is None or images.shape[1] in channels)
    if not allowed or not images.is_floating_point():
        which = "" if channels is None else f", C one of {', '.join(map(str, channels))}"
        raise InputError(
            f"images of shape {tuple(images.shape)} and {images.dtype}; corruptions take floats "
            f"in [0, 1] of shape (B, C, H, W){which}."
        )
