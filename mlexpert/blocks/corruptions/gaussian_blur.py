"""Gaussian blur, as of a lens out of focus.

Paper: Hendrycks and Dietterich 2019, arXiv:1903.12261, appendix B; deviations of their CIFAR-10-C.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mlexpert.blocks.corruptions.severity import at_severity, require_images

DEVIATIONS = (0.4, 0.6, 0.7, 0.8, 1.0)
"""Of the kernel, in pixels."""
CUT = 4.0
"""Deviations after which the kernel ends."""


def gaussian_blur(images: Tensor, severity: int) -> Tensor:
    """Return images (B, C, H, W) blurred by a normal kernel; beyond the edge the edge goes on.

    Args:
        images: (B, C, H, W) in [0, 1].
        severity: From 1 to 5.

    Raises:
        InputError: If the severity is another number, or these are no images.
    """
    require_images(images)
    deviation = at_severity(DEVIATIONS, severity)
    radius = int(CUT * deviation + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / deviation) ** 2)
    kernel = (kernel / kernel.sum()).to(images)
    channels = images.shape[1]
    across = kernel.expand(channels, 1, 1, -1)
    padded = F.pad(images, (radius,) * 4, mode="replicate")
    rows = F.conv2d(padded, across, groups=channels)
    return F.conv2d(rows, across.transpose(2, 3), groups=channels).clamp(0.0, 1.0)
