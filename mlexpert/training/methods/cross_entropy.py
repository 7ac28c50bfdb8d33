"""Plain cross-entropy on the data as they are: for recipes whose idea lies elsewhere."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from mlexpert.blocks.augment.flip_crop import random_crop, random_flip
from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.training.method import Batch
from mlexpert.training.methods.supervised import Supervised


class CrossEntropy(Supervised):
    """Cross-entropy, with images moved and mirrored at random.

    Args:
        shift: Largest shift of an image in pixels; 0 for none, and for inputs that are no images.
        flip: Whether to mirror images.
    """

    def __init__(self, *, shift: int, flip: bool) -> None:
        super().__init__(cross_entropy, augment=partial(moved, shift=shift, flip=flip))


def moved(batch: Batch, *, shift: int, flip: bool) -> Batch:
    """Return the batch with its images moved and mirrored, by torch's default generator.

    Args:
        batch: Images (B, C, H, W), or other inputs with a shift of 0.
        shift: Largest shift of an image in pixels; 0 for none.
        flip: Whether half of the images are mirrored.
    """
    inputs = random_crop(batch.inputs, shift, torch.default_generator)
    if flip:
        inputs = random_flip(inputs, torch.default_generator)
    return replace(batch, inputs=inputs)
