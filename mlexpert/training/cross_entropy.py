"""Plain cross-entropy on the data as they are: for recipes whose idea lies elsewhere."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from mlexpert.blocks.augment.flip_crop import random_crop, random_flip
from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.training.method import Batch, Loss, Method, summed


class CrossEntropy(Method):
    """Cross-entropy, with images moved and mirrored at random.

    Args:
        shift: Largest shift of an image in pixels; 0 for none, and for inputs that are no images.
        flip: Whether to mirror images.
    """

    def __init__(self, *, shift: int, flip: bool) -> None:
        super().__init__()
        self.shift, self.flip = shift, flip

    def draw(self, model: nn.Module, batch: Batch) -> Batch:
        """Return the batch with its images moved and mirrored."""
        inputs = random_crop(batch.inputs, self.shift, torch.default_generator)
        if self.flip:
            inputs = random_flip(inputs, torch.default_generator)
        return replace(batch, inputs=inputs)

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the summed cross-entropy of a micro-batch."""
        return summed(cross_entropy(model(batch.inputs), batch.targets), batch)
