"""What happens to a batch of training images before the network sees them, in its usual order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mlexpert.blocks.augment.cutmix import cutmix
from mlexpert.blocks.augment.flip_crop import random_crop, random_flip
from mlexpert.blocks.augment.mixup import mixup
from mlexpert.blocks.augment.rand_augment import rand_augment
from mlexpert.blocks.augment.random_erasing import random_erasing
from mlexpert.blocks.augment.trivial_augment import trivial_augment
from mlexpert.training.method import Batch

Policy = Literal["none", "light", "trivial", "rand"]
Mix = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class ImageAugmentation:
    """Shifts, mirrors, changes, erases and mixes the images of a batch.

    Random numbers come from torch's default generator.

    Attributes:
        policy: "none" does not move images; "light" shifts and mirrors them; "trivial" and "rand"
            follow it by TrivialAugment or RandAugment.
        shift: Largest shift in pixels.
        flip: Whether half of the images are mirrored.
        rand_ops: Operations of RandAugment.
        rand_magnitude: Their strength, 0 to 30.
        erase: Probability of random erasing.
        mixup: alpha of mixup; 0 for none.
        cutmix: alpha of CutMix; 0 for none. Where both are set, each batch draws one of them.
        num_classes: Classes K, of which mixed rows have shares.
    """

    policy: Policy
    shift: int
    flip: bool
    rand_ops: int
    rand_magnitude: int
    erase: float
    mixup: float
    cutmix: float
    num_classes: int

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with other images, and with targets (B, K) where it mixes."""
        images, chance = batch.inputs, torch.default_generator
        if self.policy != "none":
            images = random_crop(images, self.shift, chance)
            images = random_flip(images, chance) if self.flip else images
        if self.policy == "trivial":
            images = trivial_augment(images, chance)
        if self.policy == "rand":
            num_ops, magnitude = self.rand_ops, self.rand_magnitude
            images = rand_augment(images, chance, num_ops=num_ops, magnitude=magnitude)
        if self.erase:
            images = random_erasing(images, chance, probability=self.erase)
        batch = replace(batch, inputs=images)
        mixes: list[Mix] = []
        if self.mixup:
            mixes.append(partial(mixup, alpha=self.mixup))
        if self.cutmix:
            mixes.append(partial(cutmix, alpha=self.cutmix))
        if not mixes:
            return batch
        return mixed(batch, mixes[int(torch.randint(len(mixes), ()))], self.num_classes)


def mixed(batch: Batch, mix: Mix, num_classes: int) -> Batch:
    """Return a batch of mixed images, whose targets and weights are mixed alike.

    Of two rows that weigh 1 and 3, a mixture of half and half weighs 2 and has a quarter of the
    first one's target: the loss of the mixture is then the mixture of their weighted losses.

    Args:
        batch: Images, with targets (B,) class indices or (B, K) shares.
        mix: Mixes images and rows of numbers; see `mixup`, `cutmix` and `remix`.
        num_classes: Classes K.
    """
    targets = batch.targets
    if targets.ndim == 1:
        targets = F.one_hot(targets, num_classes)
    columns = torch.cat([targets.float(), torch.ones_like(targets[:, :1]).float()], dim=1)
    if batch.weights is not None:
        columns = columns * batch.weights[:, None].float()
    inputs, columns = mix(batch.inputs, columns, torch.default_generator)
    share, weights = columns[:, :-1], columns[:, -1]
    if batch.weights is None:
        return replace(batch, inputs=inputs, targets=share)
    nothing = torch.finfo(weights.dtype).tiny  # rows that weigh nothing have no shares
    targets = share / weights.clamp_min(nothing)[:, None]
    return replace(batch, inputs=inputs, targets=targets, weights=weights)
