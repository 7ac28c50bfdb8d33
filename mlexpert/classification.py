"""What classification recipes share: a network for each kind of input, and the fields behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from torch import nn

from mlexpert.blocks.backbones.resnet import ResNet
from mlexpert.blocks.layers.image_normalize import ImageNormalize
from mlexpert.data.batches import LazyImageStore, RaggedStore, Store, TensorStore
from mlexpert.data.encode import encode_images, encode_table, encode_texts
from mlexpert.data.examples import Examples
from mlexpert.data.memory import available_bytes
from mlexpert.data.schema import Categorical, ImageStats, Numeric, Schema
from mlexpert.errors import InputError
from mlexpert.recipe import Network, Recipe

LARGEST_OWN_SIZE = 256
"""Images of one size up to this many pixels keep it; others are resized."""
USUAL_SIZE = 224


@dataclass(frozen=True)
class Defaults:
    """What a recipe settles on where its user said nothing."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    patience: int
    shift: int = 0


@dataclass(frozen=True, kw_only=True)
class ClassificationRecipe(Recipe):
    """A recipe for image, text or tabular rows with one label each."""

    backbone: str = "auto"
    """auto: a small ResNet, transformer or tabular ensemble; or a timm model (images), or a transformers encoder (text)
    by its name or folder."""
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
    warmup: float = 0.05
    """Fraction of training in which the learning rate rises."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(self.image_size is None or self.image_size >= 1, "image_size", "at least 1")
        self.require(self.max_length >= 1, "max_length", "at least 1")
        self.require(self.shift is None or self.shift >= 0, "shift", "0 or more")
        self.require(0 <= self.warmup < 1, "warmup", "a fraction of 0 or more and below 1")

    def settle(self, schema: Schema) -> Self:
        """Fill in the numbers that depend on kind and amount of data."""
        defaults = _defaults(schema)
        own = {name: getattr(self, name) for name in Defaults.__dataclass_fields__}
        filled = {
            name: getattr(defaults, name) if value is None else value for name, value in own.items()
        }
        return replace(self, **filled)

    def network(self, schema: Schema) -> Network:
        """Return the network for this kind of input.

        Raises:
            InputError: If the backbone's name is unknown for this kind of input.
        """
        builders = {"image": _image_network, "text": _text_network, "tabular": _tabular_network}
        return builders[schema.kind](self, schema)


def _defaults(schema: Schema) -> Defaults:
    """Return what suits this kind and amount of data; see benchmarks/LOG.md for how it was found."""
    if schema.kind == "image":
        return Defaults(epochs=30, batch_size=64, lr=3e-3, weight_decay=0.05, patience=0, shift=2)
    if schema.kind == "text":
        return Defaults(epochs=15, batch_size=64, lr=1e-3, weight_decay=0.01, patience=5)
    return Defaults(epochs=100, batch_size=256, lr=2e-3, weight_decay=3e-4, patience=16)


def _image_network(recipe: ClassificationRecipe, schema: Schema) -> Network:
    stats = schema.image
    assert stats is not None, "an image schema has image statistics"
    size = _image_size(recipe.image_size, stats)
    if recipe.backbone == "auto":
        backbone: nn.Module = ResNet(
            in_channels=stats.channels, num_classes=schema.num_classes, image_size=size, depth=8
        )
    model = nn.Sequential(ImageNormalize(stats.mean, stats.std), backbone)
    return Network(model, partial(_image_store, size=size, channels=stats.channels))


def _image_size(asked: int | None, stats: ImageStats) -> tuple[int, int]:
    if asked is not None:
        return asked, asked
    own = (stats.height, stats.width)
    return own if stats.uniform and max(own) <= LARGEST_OWN_SIZE else (USUAL_SIZE, USUAL_SIZE)


def _image_store(examples: Examples, *, size: tuple[int, int], channels: int) -> Store:
    """Hold the images decoded where half of the free memory is enough, else decode them as needed."""
    images = examples.inputs
    if len(images) * channels * size[0] * size[1] > available_bytes() // 2:
        return LazyImageStore(images, size, channels)
    return TensorStore(encode_images(images, size=size, channels=channels))


def _text_network(recipe: ClassificationRecipe, schema: Schema) -> Network:
    raise NotImplementedError


def _tabular_network(recipe: ClassificationRecipe, schema: Schema) -> Network:
    raise NotImplementedError
