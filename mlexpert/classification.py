"""What classification recipes share: a network for each kind of input, and the fields behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from mlexpert.blocks.backbones.pretrained_text import ENCODER_FOLDER, PretrainedText
from mlexpert.blocks.backbones.resnet import ResNet
from mlexpert.blocks.backbones.tabular import TabularEnsemble
from mlexpert.blocks.backbones.text_transformer import TextTransformer
from mlexpert.blocks.backbones.timm_model import timm_model
from mlexpert.blocks.layers.image_normalize import ImageNormalize
from mlexpert.blocks.optimizers.parameter_groups import layerwise_groups
from mlexpert.blocks.schedules import Schedule, constant, warmup_cosine
from mlexpert.data.batches import LazyImageStore, RaggedStore, Store, TensorStore
from mlexpert.data.encode import FIRST_CODE, encode_images, encode_table, encode_texts
from mlexpert.data.examples import Examples
from mlexpert.data.memory import available_bytes
from mlexpert.data.schema import Column, ImageStats, Numeric, Schema
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
        if self.pretrained and self.backbone == "auto":
            raise InputError("pretrained=True needs the name of a timm model: backbone='resnet18'.")
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
        builders = {"image": _image_network, "text": _text_network, "tabular": _tabular_network}
        return builders[schema.kind](self, schema)


def _defaults(schema: Schema) -> Defaults:
    """Return what suits this kind and amount of data; benchmarks/LOG.md says how it was found."""
    if schema.kind == "image":
        return Defaults(20, 64, 0.1, 5e-4, patience=0, clip_norm=0.0, ema=0.0, shift=2)
    if schema.kind == "text":
        return Defaults(15, 64, 2e-3, 0.01, patience=0, clip_norm=0.0, ema=0.0, shift=0)
    batch_size = min(256, max(64, 2 ** round(math.log2(schema.num_examples / 64))))
    return Defaults(150, batch_size, 2e-3, 3e-4, patience=16, clip_norm=1.0, ema=0.995, shift=0)


def _image_network(recipe: ClassificationRecipe, schema: Schema) -> Network:
    stats = schema.image
    assert stats is not None, "an image schema has image statistics"
    size = _image_size(recipe.image_size, stats)
    backbone: nn.Module
    if recipe.backbone == "auto":
        backbone = ResNet(
            in_channels=stats.channels, num_classes=schema.num_classes, image_size=size, depth=8
        )
    else:
        backbone = timm_model(
            recipe.backbone,
            num_classes=schema.num_classes,
            in_channels=stats.channels,
            image_size=size,
            pretrained=recipe.pretrained,
        )
    model = nn.Sequential(ImageNormalize(stats.mean, stats.std), backbone)
    return Network(model, partial(_image_store, size=size, channels=stats.channels))


def _image_size(asked: int | None, stats: ImageStats) -> tuple[int, int]:
    if asked is not None:
        return asked, asked
    own = (stats.height, stats.width)
    return own if stats.uniform and max(own) <= LARGEST_OWN_SIZE else (USUAL_SIZE, USUAL_SIZE)


def _image_store(examples: Examples, *, size: tuple[int, int], channels: int) -> Store:
    """Hold the images decoded where half of the free memory is enough; else decode when due."""
    images = examples.inputs
    bytes_each = channels * size[0] * size[1] * (4 if images.is_float else 1)
    if len(images) * bytes_each > available_bytes() // 2:
        return LazyImageStore(images, size, channels)
    return TensorStore(encode_images(images, size=size, channels=channels).contiguous())


def _text_network(recipe: ClassificationRecipe, schema: Schema) -> Network:
    stats = schema.text
    assert stats is not None, "a text schema has text statistics"
    if recipe.backbone == "auto":
        model = TextTransformer(
            vocab_size=stats.vocab_size,
            num_classes=schema.num_classes,
            max_length=recipe.max_length,
        )
        encode = partial(_text_store, tokenizer=stats.tokenizer, max_length=recipe.max_length)
        return Network(model, encode)
    encoder = PretrainedText(recipe.backbone, num_classes=schema.num_classes)
    max_length = min(recipe.max_length, encoder.max_length)
    encode = partial(_text_store, tokenizer=encoder.tokenizer_json, max_length=max_length)
    return Network(encoder, encode, {ENCODER_FOLDER: encoder.save_companions})


def _text_store(examples: Examples, *, tokenizer: str, max_length: int) -> Store:
    return RaggedStore(*encode_texts(examples.inputs, tokenizer, max_length))


def _tabular_network(recipe: ClassificationRecipe, schema: Schema) -> Network:
    if recipe.backbone != "auto":
        raise InputError(
            f"backbone={recipe.backbone!r}: a table has one network; leave backbone at 'auto'."
        )
    columns = [
        column.quantiles if isinstance(column, Numeric) else len(column.categories) + FIRST_CODE
        for column in schema.columns
    ]
    model = TabularEnsemble(columns, schema.num_classes)
    return Network(model, partial(_table_store, columns=schema.columns))


def _table_store(examples: Examples, *, columns: tuple[Column, ...]) -> Store:
    return TensorStore(encode_table(examples.inputs, columns))
