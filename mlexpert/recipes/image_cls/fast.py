"""Image classification in as little computation as it takes: eleven epochs of small images.

A first layer that whitens patches, Muon, label smoothing and a view per epoch that never repeats;
the images start small and grow, because the early epochs need no detail. For data like CIFAR-10:
thousands of images of about 32 pixels. Take image-cls for few, large or fine-grained images.

Paper: Jordan 2024, arXiv:2404.00498 (airbench); Jordan et al. 2024, "Muon"; growing images by Tan
    and Le 2021, arXiv:2104.00298, section 4.2.
Differs from the paper: images grow from 3/4 of their size, which saves a quarter of the
computation; the whitening layer has no bias; weights are those of the epoch that validation chose.
Results: benchmarks/classification/results.md
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.augment.alternating_flip import alternating_flip
from mlexpert.blocks.augment.flip_crop import random_crop
from mlexpert.blocks.backbones.speed_net import SMALLEST, SpeedNet
from mlexpert.blocks.layers.image_normalize import ImageNormalize
from mlexpert.blocks.layers.image_views import ImageViews
from mlexpert.blocks.layers.patch_whitening import PatchWhitening
from mlexpert.blocks.optimizers.muon import Muon
from mlexpert.blocks.schedules import warmup_linear
from mlexpert.data.batches import cut
from mlexpert.data.schema import ImageStats, Schema
from mlexpert.errors import InputError
from mlexpert.families.classifier import ClassifierRecipe
from mlexpert.networks.images import image_size_of, image_store
from mlexpert.recipe import Network, Parts
from mlexpert.training.method import Batch
from mlexpert.training.methods.supervised import Supervised

STAGES = 3
HEAD_LR, BIAS_LR, DECAY = 1.5, 96.0, 2e-6
"""Of the head and of biases, for the mean loss of a batch: the paper's 11.5, and 64 times as much,
freed of its scaling; and its weight decay per example of a batch."""


@dataclass(frozen=True, kw_only=True)
class ImageClsFast(ClassifierRecipe):
    """Whitening, Muon and growing images."""

    name: ClassVar[str] = "image-cls/fast"
    version: ClassVar[int] = 1
    kinds: ClassVar = ("image",)

    channels_last: bool | Literal["auto"] = True
    """Keep images channels-last in memory: with bf16 a step of this network is then 1.8 times as
    fast on a CPU."""
    lr: float | None = None
    """Peak step size of Muon, which moves the convolutions; head and biases have rates of their
    own. None: 0.24."""
    weight_decay: float | None = None
    """Decay of head and biases, times their peak learning rate; convolutions have a fixed norm
    instead. None: 2e-6 for each image of a batch."""
    label_smoothing: float = 0.2
    """Share of the target that is spread over all classes."""
    image_size: int | None = None
    """Height and width in pixels that images are resized to; they are whitened by the moments that
    they had before. None: their own where it is one size, up to 256."""
    width: int = 64
    """Channels of the first block; the other two have four times as many."""
    smallest: float = 0.75
    """Side of the training images at first, as a share of their full side; 1 for no growth."""
    shift: int = 2
    """Largest random shift of a training image, in pixels."""
    flip: bool | None = None
    """Mirror an image in every other epoch. None: colour images are mirrored, grey ones (digits,
    letters) are not."""
    tta: bool = True
    """Predict by the mean over six views (three where training does not mirror): the image, and it
    shifted by a pixel both ways. Learning curves look at the image alone."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        size = self.image_size
        self.require(size is None or size >= SMALLEST, "image_size", f"at least {SMALLEST}")
        self.require(self.width >= 1, "width", "at least 1")
        self.require(0 < self.smallest <= 1, "smallest", "above 0 and at most 1")
        self.require(self.shift >= 0, "shift", "0 or more")

    def settle(self, schema: Schema) -> Self:
        """Fill in what depends on the images.

        Raises:
            InputError: If the images are too small for three poolings or for the shift, or differ
                in size.
        """
        stats = schema.image
        assert stats is not None, "an image schema has image statistics"
        self._require_suited(stats)
        # As many steps as the paper takes, whatever the number of images: with fewer images a step.
        batch_size = self.batch_size or min(2000, max(64, schema.num_examples // 25))
        defaults: dict[str, Any] = {
            "epochs": 11,
            "batch_size": batch_size,
            "lr": 0.24,
            "weight_decay": DECAY * batch_size,
            "patience": 0,
            "clip_norm": 0.0,
            "ema": 0.0,
            "flip": stats.channels == 3,
        }
        return replace(self, **{k: v for k, v in defaults.items() if getattr(self, k) is None})

    def _require_suited(self, stats: ImageStats) -> None:
        """Refuse images that the network or their augmentation cannot take."""
        side = min(image_size_of(stats, self.image_size))
        if not stats.uniform:
            raise InputError(
                f"{self.name} needs images of one size, and these differ (median {stats.height} x "
                f"{stats.width}); take image-cls, or resize them first."
            )
        if not stats.patch_covariance:
            raise InputError(
                f"{self.name} whitens patches of 2 x 2 pixels, and these images have "
                f"{stats.height} x {stats.width}; take image-cls."
            )
        if side < SMALLEST:
            raise InputError(
                f"{self.name} needs images of {SMALLEST} pixels and more, and these have "
                f"{stats.height} x {stats.width}; set image_size={2 * SMALLEST}."
            )
        self.require(self.shift < side, "shift", f"below {side}, the side of these images")

    def build(self, schema: Schema) -> Parts:
        """Assemble the network, its two kinds of updates and the growing images."""
        stats, what = schema.image, self.objective_parts(schema)
        assert stats is not None and self.epochs and self.batch_size, "fit settles a recipe first"
        size = image_size_of(stats, self.image_size)
        first = PatchWhitening(stats.patch_covariance, channels=stats.channels)
        widths = (self.width, 4 * self.width, 4 * self.width)
        net = SpeedNet(first, num_classes=schema.num_outputs, widths=widths)
        steps = len(cut(torch.empty(schema.num_examples), self.batch_size))
        method = GrowingImages(
            what.loss,
            shift=self.shift,
            flip=bool(self.flip),
            smallest=self.smallest,
            steps_per_epoch=steps,
            steps=self.epochs * steps,
        )
        model = ImageViews(
            ImageNormalize(stats.mean, stats.std),
            net,
            mirror=self.tta and bool(self.flip),
            shift=int(self.tta),
        )
        return Parts(
            network=Network(model, partial(image_store, size=size, channels=stats.channels)),
            method=method,
            optimizer=self._optimizer(net),
            schedule=warmup_linear(0.0),
            decide=what.decide,
            evaluate=what.evaluate,
            monitor=what.monitor,
        )

    def _optimizer(self, net: SpeedNet) -> Muon:
        """Return Muon for the convolutions and SGD for the rest, whose decay is decoupled."""
        assert self.lr is not None and self.weight_decay is not None, "fit settles a recipe first"
        convolutions = [p for p in net.blocks.parameters() if p.ndim == 4]
        biases = [p for p in net.blocks.parameters() if p.ndim == 1 and p.requires_grad]
        groups = [{"params": convolutions, "lr": self.lr, "momentum": 0.6, "fixed_norm": True}]
        for parameters, lr in (([net.head.weight], HEAD_LR), (biases, BIAS_LR)):
            sgd = {"lr": lr, "momentum": 0.85, "weight_decay": self.weight_decay / lr}
            groups.append({"params": parameters, "orthogonal": False, **sgd})
        return Muon(groups, iterations=3)


class GrowingImages(Supervised):
    """Shifts and mirrors images, and shrinks them in the first two thirds of training.

    The very first step sees them at their full size: what memory it needs, later ones need too.

    Args:
        loss: Maps logits and targets to losses (B,).
        shift: Largest shift in pixels.
        flip: Whether to mirror every image in every other epoch.
        smallest: Side at first, as a share of the full side.
        steps_per_epoch: Steps of an epoch.
        steps: Steps of the whole training.
    """

    def __init__(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        *,
        shift: int,
        flip: bool,
        smallest: float,
        steps_per_epoch: int,
        steps: int,
    ) -> None:
        super().__init__(loss)
        self.shift, self.flip, self.smallest = shift, flip, smallest
        self.steps_per_epoch, self.steps = steps_per_epoch, steps
        self.done = 0  # batches drawn: one whose step fp16 skips counts, or epochs would drift

    def draw(self, model: nn.Module, batch: Batch) -> Batch:
        """Return the batch with its images moved, mirrored and at the size of this step."""
        images = random_crop(batch.inputs, self.shift, torch.default_generator, reflect=True)
        if self.flip:
            images = alternating_flip(images, batch.index, self.done // self.steps_per_epoch)
        scale = self.scale()
        if scale < 1:
            size = [max(SMALLEST, round(side * scale)) for side in images.shape[2:]]
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
        self.done += 1
        return replace(batch, inputs=images)

    def scale(self) -> float:
        """Return the side of the next step's images as a share of the full side."""
        stage = min(STAGES * self.done // self.steps, STAGES - 1)
        grown = self.smallest + (1 - self.smallest) * stage / (STAGES - 1)
        return grown if self.done else 1.0

    def get_extra_state(self) -> dict[str, int]:
        """Return the steps done, which a checkpoint keeps."""
        return {"done": self.done}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Go on after the steps that a checkpoint kept."""
        self.done = state["done"]


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(ImageClsFast)
