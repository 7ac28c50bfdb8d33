"""Image classification: any timm model or a small ResNet, one-cycle, and the usual augmentations.

Trains from scratch, or fine-tunes published or local weights with rates that fall with depth.

Paper: He et al. 2016, arXiv:1512.03385, for the small ResNet; Smith and Topin 2018,
    arXiv:1708.07120, for the one-cycle schedule; each augmentation names its own.
Differs from the paper: momentum stays at 0.9 over the cycle, and the rate rises linearly and falls
    along a cosine to zero.
Results: benchmarks/classification/results.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from mlexpert.blocks.backbones.timm_model import has_batch_norm
from mlexpert.blocks.optimizers.parameter_groups import layerwise_groups
from mlexpert.blocks.schedules import warmup_cosine
from mlexpert.data.schema import Schema
from mlexpert.families.classifier import ClassifierRecipe
from mlexpert.networks.images import image_network, image_size_of
from mlexpert.recipe import Parts
from mlexpert.training.methods.image_augmentation import ImageAugmentation
from mlexpert.training.methods.supervised import Supervised


@dataclass(frozen=True, kw_only=True)
class ImageCls(ClassifierRecipe):
    """One class of an image, or any of several labels."""

    name: ClassVar[str] = "image-cls"
    version: ClassVar[int] = 1
    kinds: ClassVar = ("image",)

    label_smoothing: float = 0.1
    """Share of the target that is spread over all classes; epsilon in Szegedy et al. 2016."""
    backbone: str = "auto"
    """auto: a small ResNet. Or the name of any timm model, as in resnet50.a1_in1k."""
    depth: int = 8
    """Layers of the small ResNet, 6n + 2."""
    width: int = 32
    """Channels of its first stage; the others have two and four times as many."""
    pretrained: bool = False
    """Start a timm model from its published weights; needs a hub within reach, or its cache."""
    weights: str | None = None
    """File (safetensors) or folder of weights to start from: of timm, of the hub, or a saved model
    of this recipe. The head stays new where its classes differ in number."""
    image_size: int | None = None
    """Height and width in pixels that images are resized to. None: their own where it is one size
    up to 256; squares of the median side, up to 224, where sizes differ."""
    optimizer: Literal["auto", "sgd", "adamw"] = "auto"
    """sgd has Nesterov momentum 0.9. auto: sgd for a network with batch norm that starts from
    nothing, adamw otherwise."""
    warmup: float = 0.25
    """Fraction of training in which the learning rate rises."""
    layer_decay: float | None = None
    """Factor on the learning rate from one block to the next below it (Clark et al. 2020,
    arXiv:2003.10555). None: 0.75 for a network that starts from weights, else 1."""
    augment: Literal["none", "light", "trivial", "rand"] = "light"
    """light: random shifts and mirror images. trivial and rand: TrivialAugment or RandAugment after
    them, for long training."""
    shift: int | None = None
    """Largest random shift of a training image, in pixels. None: a fourteenth of its side."""
    flip: bool | None = None
    """Mirror training images at random. None: colour images are mirrored, grey ones are not, as
    they may be digits or letters; set it wherever left and right do not matter."""
    rand_ops: int = 2
    """Operations of RandAugment for each image; N in the paper."""
    rand_magnitude: int = 9
    """Their strength, 0 to 30; M in the paper."""
    erase: float = 0.0
    """Probability that a rectangle of a training image is filled with noise (Zhong et al. 2020)."""
    mixup: float = 0.0
    """alpha of mixup (Zhang et al. 2018); 0 for none. With cutmix, each batch draws one of both."""
    cutmix: float = 0.0
    """alpha of CutMix (Yun et al. 2019); 0 for none."""
    tta: bool = False
    """Predict by the mean over six views (three where training does not mirror): the image, and it
    shifted by a pixel both ways. Six times the time, and a little more accurate."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        is_depth = self.depth >= 8 and self.depth % 6 == 2
        self.require(is_depth, "depth", "6n + 2: 8, 14, 20, 26, 32, ...")
        self.require(self.width >= 1, "width", "at least 1")
        self.require(self.image_size is None or self.image_size >= 1, "image_size", "at least 1")
        self.require(not (self.pretrained and self.weights), "weights", "None if pretrained=True")
        self.require(0 <= self.warmup < 1, "warmup", "a fraction of 0 or more and below 1")
        decay = self.layer_decay
        self.require(decay is None or 0 < decay <= 1, "layer_decay", "above 0 and at most 1")
        self.require(self.shift is None or self.shift >= 0, "shift", "0 or more")
        self.require(self.rand_ops >= 0, "rand_ops", "0 or more")
        self.require(0 <= self.rand_magnitude <= 30, "rand_magnitude", "from 0 to 30")
        self.require(0 <= self.erase <= 1, "erase", "a probability from 0 to 1")
        for name in ("mixup", "cutmix"):
            self.require(0 <= getattr(self, name) < math.inf, name, "a number of 0 or more")

    def settle(self, schema: Schema) -> Self:
        """Fill in what depends on the network and on kind and number of the images.

        Raises:
            InputError: If the backbone is unknown.
        """
        stats, rows = schema.image, schema.num_examples
        assert stats is not None, "an image schema has image statistics"
        is_tuning = self.pretrained or self.weights is not None
        optimizer = self.optimizer
        if optimizer == "auto":
            suits_sgd = self.backbone == "auto" or has_batch_norm(self.backbone)
            optimizer = "sgd" if suits_sgd and not is_tuning else "adamw"
        batch_size = self.batch_size or min(128, max(16, 2 ** round(math.log2(rows / 32))))
        passes = (200_000, 5, 50) if is_tuning else (800_000, 16, 100)
        rates = {"sgd": (0.2, 0.02), "adamw": (1e-3, 5e-4)}  # from nothing, and from weights
        defaults: dict[str, Any] = {
            "epochs": min(passes[2], max(passes[1], round(passes[0] / rows))),
            "batch_size": batch_size,
            "lr": rates[optimizer][is_tuning] * min(1.0, batch_size / 128),
            "weight_decay": 5e-4 if optimizer == "sgd" else 0.05,
            "patience": 0,
            "clip_norm": 0.0 if optimizer == "sgd" else 1.0,
            "ema": 0.0,
            "layer_decay": 0.75 if is_tuning else 1.0,
            "shift": round(max(image_size_of(stats, self.image_size)) / 14),
            "flip": stats.channels == 3,
        }
        missing = {k: v for k, v in defaults.items() if getattr(self, k) is None}
        return replace(self, optimizer=optimizer, **missing)

    def build(self, schema: Schema) -> Parts:
        """Assemble network, augmentation, optimiser and one-cycle."""
        what = self.objective_parts(schema)
        network = image_network(
            schema,
            backbone=self.backbone,
            image_size=self.image_size,
            pretrained=self.pretrained,
            weights=self.weights,
            depth=self.depth,
            width=self.width,
            mirrored_views=self.tta and bool(self.flip),
            shifted_views=int(self.tta),
        )
        augmentation = ImageAugmentation(
            policy=self.augment,
            shift=self.shift or 0,
            flip=bool(self.flip),
            rand_ops=self.rand_ops,
            rand_magnitude=self.rand_magnitude,
            erase=self.erase,
            mixup=self.mixup,
            cutmix=self.cutmix,
            num_classes=schema.num_outputs,
        )
        return Parts(
            network=network,
            method=Supervised(what.loss, augment=augmentation),
            optimizer=self._optimizer(network.model),
            schedule=warmup_cosine(self.warmup),
            decide=what.decide,
            evaluate=what.evaluate,
            monitor=what.monitor,
        )

    def _optimizer(self, model: nn.Module) -> Optimizer:
        assert self.lr is not None and self.weight_decay is not None, "fit settles a recipe first"
        decay = self.layer_decay or 1.0
        groups = layerwise_groups(
            model, lr=self.lr, weight_decay=self.weight_decay, layer_decay=decay
        )
        if self.optimizer == "sgd":
            return SGD(groups, lr=self.lr, momentum=0.9, nesterov=True)
        return AdamW(groups, lr=self.lr, fused=True)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(ImageCls)
