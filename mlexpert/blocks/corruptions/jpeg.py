"""JPEG compression, as of pictures that were sent on.

Paper: Hendrycks and Dietterich 2019, arXiv:1903.12261, section 3; qualities of their CIFAR-10-C.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor

from mlexpert.blocks.corruptions.severity import at_severity, require_images

QUALITIES = (80, 65, 58, 50, 40)


def jpeg(images: Tensor, severity: int) -> Tensor:
    """Return images (B, C, H, W) after JPEG and back, of 8 bits.

    Args:
        images: (B, C, H, W) in [0, 1], of one channel or three.
        severity: From 1 to 5.

    Raises:
        InputError: If the severity is another number, or these are no such images.
    """
    from PIL import Image

    require_images(images, channels=(1, 3))
    quality = int(at_severity(QUALITIES, severity))
    pixels = (images.detach().cpu().clamp(0.0, 1.0) * 255).round().to(torch.uint8)
    out = np.empty_like(stack := pixels.permute(0, 2, 3, 1).contiguous().numpy())
    for row, image in enumerate(stack):
        file = io.BytesIO()
        Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(
            file, "JPEG", quality=quality
        )
        out[row] = np.asarray(Image.open(file)).reshape(image.shape)
    back = torch.from_numpy(out).permute(0, 3, 1, 2).contiguous()
    return back.to(images.device, images.dtype) / 255
