"""Gaussian noise, as of a sensor in low light.

Paper: Hendrycks and Dietterich 2019, arXiv:1903.12261, section 3; deviations of their CIFAR-10-C.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlexpert.blocks.attacks.noise import uniform
from mlexpert.blocks.corruptions.severity import at_severity, require_images

DEVIATIONS = (0.04, 0.06, 0.08, 0.09, 0.10)
STREAM = 7_001
"""Apart from what attacks draw for the same rows."""


def gaussian_noise(
    images: Tensor, severity: int, *, seed: int = 0, ids: Tensor | None = None
) -> Tensor:
    """Return images (B, C, H, W) with normal noise added to every value, in [0, 1].

    Args:
        images: (B, C, H, W) in [0, 1].
        severity: From 1 to 5.
        seed: Of the noise.
        ids: (B,) int64 names of the rows, which the noise is drawn by; None: their places.

    Raises:
        InputError: If the severity is another number, or these are no images.
    """
    require_images(images)
    deviation = at_severity(DEVIATIONS, severity)
    ids = torch.arange(len(images), device=images.device) if ids is None else ids
    # 0 is among the numbers, and its quantile is not finite: they are moved to their cells' middle.
    share = uniform(ids, images.shape[1:], seed=seed, stream=STREAM).double() + 2.0**-25
    noise = torch.special.ndtri(share).to(images.dtype)
    return (images + deviation * noise).clamp(0.0, 1.0)
