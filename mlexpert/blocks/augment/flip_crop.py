"""Random horizontal flip and random crop of whole batches, as pure functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror every image left to right with probability one half.

    Args:
        images: (B, C, H, W).
        generator: Source of chance. It may live on another device than the images.

    Returns:
        (B, C, H, W), a new tensor.
    """
    flip = torch.rand(len(images), generator=generator, device=generator.device) < 0.5
    here = flip.to(images.device, non_blocking=True)  # a GPU goes on with the step before
    return torch.where(here.view(-1, 1, 1, 1), images.flip(3), images)


def random_crop(
    images: Tensor, padding: int, generator: torch.Generator, *, reflect: bool = False
) -> Tensor:
    """Pad every image on all sides and cut a window of the old size from a random place.

    Args:
        images: (B, C, H, W).
        padding: Pixels on each side; an image moves by up to this many pixels in each direction. 0
            changes nothing.
        generator: Source of chance. It may live on another device than the images.
        reflect: Whether the padding mirrors the image; else it is zero.

    Returns:
        (B, C, H, W), a new tensor (or `images` itself where `padding` is 0).
    """
    if padding == 0:
        return images
    num_images, _, height, width = images.shape
    down, right = torch.randint(
        2 * padding + 1, (2, num_images), generator=generator, device=generator.device
    ).to(images.device, non_blocking=True)
    padded = F.pad(images, (padding,) * 4, mode="reflect" if reflect else "constant")
    # A view of all windows, of which an index copies one for each image, whole rows at a time.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    batch = torch.arange(num_images, device=images.device)
    return windows[batch, :, down, right]
