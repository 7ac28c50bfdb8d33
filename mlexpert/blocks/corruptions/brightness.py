"""Brightness, as of more daylight: the value of hue, saturation and value is raised.

Paper: Hendrycks and Dietterich 2019, arXiv:1903.12261, section 3; constants of their CIFAR-10-C.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlexpert.blocks.corruptions.severity import at_severity, require_images

CHANGES = (0.05, 0.1, 0.15, 0.2, 0.3)


def brightness(images: Tensor, severity: int) -> Tensor:
    """Return brighter images (B, C, H, W), of the same hue and saturation.

    The value is the largest channel, and the others keep their ratio to it. Black becomes grey.

    Args:
        images: (B, C, H, W) in [0, 1], of one channel or three.
        severity: From 1 to 5.

    Raises:
        InputError: If the severity is another number, or these are no such images.
    """
    require_images(images, channels=(1, 3))
    value = images.amax(dim=1, keepdim=True)
    raised = (value + at_severity(CHANGES, severity)).clamp(max=1.0)
    share = torch.where(value > 0, images / value, 1.0)
    return (share * raised).clamp(0.0, 1.0)
