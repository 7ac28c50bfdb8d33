"""Networks for images: our own small ResNet, or any timm model."""

from __future__ import annotations

from functools import partial

from torch import nn

from mlexpert.blocks.backbones.resnet import ResNet
from mlexpert.blocks.backbones.timm_model import timm_model
from mlexpert.blocks.layers.image_normalize import ImageNormalize
from mlexpert.data.batches import LazyImageStore, Store, TensorStore
from mlexpert.data.encode import encode_images
from mlexpert.data.examples import Examples
from mlexpert.data.memory import available_bytes
from mlexpert.data.schema import ImageStats, Schema
from mlexpert.errors import InputError
from mlexpert.recipe import Network

LARGEST_OWN_SIZE = 256
"""Images of one size up to this many pixels keep it; others are resized."""
USUAL_SIZE = 224


def image_network(
    schema: Schema,
    *,
    backbone: str = "auto",
    image_size: int | None = None,
    pretrained: bool = False,
) -> Network:
    """Return a network for images in [0, 1], which its first layer standardises.

    Args:
        schema: Of the training images.
        backbone: "auto" for a small ResNet, or the name of a timm model.
        image_size: Height and width that images are resized to. None: their own where it is one
            size, up to 256 pixels; else 224.
        pretrained: Whether to start from published weights; needs a timm model.

    Raises:
        InputError: If the backbone is not known, or has no weights to start from.
    """
    if pretrained and backbone == "auto":
        raise InputError("pretrained=True needs the name of a timm model: backbone='resnet18'.")
    stats = schema.image
    assert stats is not None, "an image schema has image statistics"
    size = image_size_of(stats, image_size)
    network: nn.Module
    if backbone == "auto":
        network = ResNet(
            in_channels=stats.channels, num_classes=schema.num_outputs, image_size=size, depth=8
        )
    else:
        network = timm_model(
            backbone,
            num_classes=schema.num_outputs,
            in_channels=stats.channels,
            image_size=size,
            pretrained=pretrained,
        )
    model = nn.Sequential(ImageNormalize(stats.mean, stats.std), network)
    return Network(model, partial(image_store, size=size, channels=stats.channels))


def image_size_of(stats: ImageStats, asked: int | None) -> tuple[int, int]:
    """Return height and width in pixels that a model for these images works at."""
    if asked is not None:
        return asked, asked
    own = (stats.height, stats.width)
    return own if stats.uniform and max(own) <= LARGEST_OWN_SIZE else (USUAL_SIZE, USUAL_SIZE)


def image_store(examples: Examples, *, size: tuple[int, int], channels: int) -> Store:
    """Hold the images decoded where half of the free memory is enough; else decode when due."""
    images = examples.inputs
    bytes_each = channels * size[0] * size[1] * (4 if images.is_float else 1)
    if len(images) * bytes_each > available_bytes() // 2:
        return LazyImageStore(images, size, channels)
    return TensorStore(encode_images(images, size=size, channels=channels).contiguous())
