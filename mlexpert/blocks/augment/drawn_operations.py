"""Operations that TrivialAugment and RandAugment draw from, applied to whoever drew them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mlexpert.blocks.augment import geometry, photometry

NUM_BINS = 31
"""Strengths of an operation, from the weakest to the strongest."""

Operation = Callable[[Tensor, Tensor], Tensor]

OPERATIONS: dict[str, Operation] = {
    "identity": lambda images, _: images,
    "shear_x": geometry.shear_x,
    "shear_y": geometry.shear_y,
    "translate_x": geometry.translate_x,
    "translate_y": geometry.translate_y,
    "rotate": geometry.rotate,
    "brightness": photometry.brightness,
    "saturation": photometry.saturation,
    "contrast": photometry.contrast,
    "sharpness": photometry.sharpness,
    "posterize": photometry.posterize,
    "solarize": photometry.solarize,
    "autocontrast": lambda images, _: photometry.autocontrast(images),
    "equalize": lambda images, _: photometry.equalize(images),
}
"""Each takes images (B, C, H, W) in [0, 1] and a strength (B,)."""

ONE_WAY = frozenset({"identity", "posterize", "solarize", "autocontrast", "equalize"})
"""Operations whose strength has no opposite; the others draw its sign."""


def strengths(
    *,
    shear: float,
    shift: tuple[float, float],
    degrees: float,
    blend: float,
    lost_bits: int,
) -> dict[str, Tensor]:
    """Return the strengths (31,) of every operation.

    Args:
        shear: Largest slope.
        shift: Largest shift in pixels, along the height and along the width.
        degrees: Largest rotation.
        blend: Largest change of brightness, colour, contrast and sharpness.
        lost_bits: Most bits that posterising takes of 8.
    """
    rise = torch.linspace(0.0, 1.0, NUM_BINS)
    largest = {
        "shear_x": shear,
        "shear_y": shear,
        "translate_x": shift[1],
        "translate_y": shift[0],
        "rotate": degrees,
        **dict.fromkeys(("brightness", "saturation", "contrast", "sharpness"), blend),
    }
    table = {name: rise * largest.get(name, 0.0) for name in OPERATIONS}
    table["posterize"] = (8 - lost_bits * rise).round()
    table["solarize"] = 1.0 - rise
    return table


def apply_drawn(
    images: Tensor, table: Mapping[str, Tensor], bins: Tensor, generator: torch.Generator
) -> Tensor:
    """Draw an operation for every image, and its sign, and apply it.

    The images that drew the same operation are changed together, each by its own strength.

    Args:
        images: (B, C, H, W) in [0, 1], C = 1 or 3.
        table: Strengths (31,) of every operation.
        bins: (B,) which strength each image takes, from 0 to 30.
        generator: Source of chance. It may live on another device than the images.

    Returns:
        (B, C, H, W), a new tensor.
    """
    names, device = list(OPERATIONS), generator.device
    choice = torch.randint(len(names), (len(images),), generator=generator, device=device).cpu()
    sign = torch.randint(2, (len(images),), generator=generator, device=device).cpu() * 2.0 - 1.0
    changed = images.clone()
    for number in choice.unique().tolist():
        name = names[number]
        rows = (choice == number).nonzero().squeeze(1)
        strength = table[name][bins.cpu()[rows]]
        if name not in ONE_WAY:
            strength = strength * sign[rows]
        rows = rows.to(images.device)
        changed[rows] = OPERATIONS[name](images[rows], strength.to(images.device))
    return changed
