"""What classification recipes share: a network for each kind of input, and the fields behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from mlexpert.blocks.optimizers.parameter_groups import layerwise_groups
from mlexpert.blocks.schedules import Schedule, constant, warmup_cosine
from mlexpert.data.schema import Schema
from mlexpert.errors import InputError
from mlexpert.networks.images import image_network
from mlexpert.networks.tables import table_network
from mlexpert.networks.texts import text_network
from mlexpert.recipe import Network, Recipe


@dataclass(frozen=True)
class Defaults:
    """What a recipe settles on where its user said nothing."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    patience: int
    clip_norm: float
    ema: float
    shift: int


@dataclass(frozen=True, kw_only=True)
class ClassificationRecipe(Recipe):
    """A recipe for image, text or tabular rows with one label each."""

    backbone: str = "auto"
    """auto: a small ResNet (images), a small transformer (text) or an ensemble (tables). Or the
    name of a timm model for images, the name or folder of a transformers encoder for text."""
    pretrained: bool = False
    """Start a timm model from its published weights; needs a hub within reach. An encoder for text
    always does."""
    image_size: int | None = None
    """Height and width in pixels that images are resized to. None: their own where it is one size,
    up to 256."""
    max_length: int = 256
    """Tokens of a text that are read; the rest is cut off."""
    shift: int | None = None
    """Largest random shift of a training image, in pixels. None: the recipe's own choice for its
    size."""
    flip: bool = False
    """Mirror training images at random; not for digits, letters, or anything else where left and
    right matter."""
    warmup: float = 0.1
    """Fraction of training in which the learning rate rises; not for tables, whose rate is constant
    until patience ends."""
    layer_decay: float = 1.0
    """Factor on the learning rate from one block of the network to the next below it: the head has
    lr, the embeddings the least. 0.65 to 0.9 for a pretrained network, 1 otherwise and for tables
    (Clark et al. 2020, arXiv:2003.10555)."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(self.image_size is None or self.image_size >= 1, "image_size", "at least 1")
        self.require(self.max_length >= 1, "max_length", "at least 1")
        self.require(self.shift is None or self.shift >= 0, "shift", "0 or more")
        self.require(0 <= self.warmup < 1, "warmup", "a fraction of 0 or more and below 1")
        self.require(0 < self.layer_decay <= 1, "layer_decay", "above 0 and at most 1")

    def settle(self, schema: Schema) -> Self:
        """Fill in the numbers that depend on kind and amount of data.

        Raises:
            InputError: If a field for images is set for other rows.
        """
        for name in ("shift", "flip", "pretrained", "image_size"):
            given = getattr(self, name)
            if given and schema.kind != "image":
                raise InputError(
                    f"{name}={given!r} is for images, and these rows are {schema.kind}."
                )
        defaults = _defaults(schema)
        own = {name: getattr(self, name) for name in Defaults.__dataclass_fields__}
        filled = {
            name: getattr(defaults, name) if value is None else value for name, value in own.items()
        }
        return replace(self, **filled)

    def optimizer(self, model: nn.Module, schema: Schema) -> Optimizer:
        """Return SGD with Nesterov momentum for images, and AdamW for text and tables.

        Raises:
            InputError: If `layer_decay` is below 1 and the network has no blocks.
        """
        assert self.lr is not None and self.weight_decay is not None, "fit settles a recipe first"
        groups = layerwise_groups(
            model, lr=self.lr, weight_decay=self.weight_decay, layer_decay=self.layer_decay
        )
        if schema.kind == "image":
            return SGD(groups, lr=self.lr, momentum=0.9, nesterov=True)
        return AdamW(groups, lr=self.lr)

    def schedule(self, schema: Schema) -> Schedule:
        """Return warm-up and cosine for images and text, and a constant rate for tables."""
        return constant() if schema.kind == "tabular" else warmup_cosine(self.warmup)

    def network(self, schema: Schema) -> Network:
        """Return the network for this kind of input.

        Raises:
            InputError: If the backbone's name is unknown for this kind of input.
        """
        if schema.kind == "image":
            return image_network(
                schema,
                backbone=self.backbone,
                image_size=self.image_size,
                pretrained=self.pretrained,
            )
        if schema.kind == "text":
            return text_network(schema, backbone=self.backbone, max_length=self.max_length)
        if self.backbone != "auto":
            raise InputError(
                f"backbone={self.backbone!r}: a table has one network; leave backbone at 'auto'."
            )
        return table_network(schema)


def _defaults(schema: Schema) -> Defaults:
    """Return what suits this kind and amount of data; benchmarks/LOG.md says how it was found."""
    if schema.kind == "image":
        return Defaults(20, 64, 0.1, 5e-4, patience=0, clip_norm=0.0, ema=0.0, shift=2)
    if schema.kind == "text":
        return Defaults(15, 64, 2e-3, 0.01, patience=0, clip_norm=0.0, ema=0.0, shift=0)
    batch_size = min(256, max(64, 2 ** round(math.log2(schema.num_examples / 64))))
    return Defaults(150, batch_size, 2e-3, 3e-4, patience=16, clip_norm=1.0, ema=0.995, shift=0)
