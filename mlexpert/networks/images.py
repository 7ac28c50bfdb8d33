"""Networks for images: our own small ResNet, or any timm model."""

from __future__ import annotations

from functools import partial

from torch import nn

from mlexpert.blocks.backbones.mlp import Mlp
from mlexpert.blocks.backbones.resnet import ResNet
from mlexpert.blocks.backbones.restoring import restored_folder
from mlexpert.blocks.backbones.strided_conv import StridedConvNet
from mlexpert.blocks.backbones.timm_model import timm_model
from mlexpert.blocks.backbones.weights_file import fill, read_weights
from mlexpert.blocks.layers.image_normalize import ImageNormalize
from mlexpert.blocks.layers.image_views import ImageViews
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
SMALLEST_SIZE = 8
"""Smaller images are enlarged: a network that halves them twice has nothing left of fewer."""


def image_network(
    schema: Schema,
    *,
    backbone: str = "auto",
    image_size: int | None = None,
    pretrained: bool = False,
    weights: str | None = None,
    depth: int = 8,
    width: int = 16,
    mirrored_views: bool = False,
    shifted_views: int = 0,
) -> Network:
    """Return a network for images in [0, 1], which its first layer standardises.

    Args:
        schema: Of the training images.
        backbone: "auto" for a small ResNet, "mlp" for two hidden layers of 400 on the pixels,
            "strided" for two strided convolutions, or the name of a timm model.
        image_size: Height and width that images are resized to. None: their own where it is one
            size from 8 to 256 pixels; see `image_size_of`.
        pretrained: Whether to start from published weights; needs a timm model.
        weights: A file or folder of weights to start from; see `read_weights`.
        depth: Layers of the small ResNet.
        width: Channels of its first stage.
        mirrored_views: Whether predictions are averaged over the image and its mirror image.
        shifted_views: Pixels of shifted views that predictions are averaged over too; 0 for none.

    Raises:
        InputError: If the backbone is not known, or the weights cannot be had or do not fit.
    """
    if pretrained and backbone in ("auto", "mlp", "strided"):
        raise InputError("pretrained=True needs the name of a timm model: backbone='resnet18'.")
    stats = schema.image
    assert stats is not None, "an image schema has image statistics"
    size, outputs = image_size_of(stats, image_size), schema.num_outputs
    encode = partial(image_store, size=size, channels=stats.channels)
    if backbone == "mlp":
        return Network(Mlp(stats.channels * size[0] * size[1], outputs), encode)
    network: nn.Module
    if backbone == "strided":
        network = StridedConvNet(stats.channels, outputs, image_size=size)
    elif backbone == "auto":
        network = ResNet(
            in_channels=stats.channels,
            num_classes=outputs,
            image_size=size,
            depth=depth,
            width=width,
        )
        if weights is not None and restored_folder() is None:
            fill(network, read_weights(weights), weights, head="head")
    else:
        network = timm_model(
            backbone,
            num_classes=outputs,
            in_channels=stats.channels,
            image_size=size,
            pretrained=pretrained,
            weights=weights,
        )
    normalize = ImageNormalize(stats.mean, stats.std)
    model = ImageViews(normalize, network, mirror=mirrored_views, shift=shifted_views)
    return Network(model, encode)


def image_size_of(stats: ImageStats, asked: int | None) -> tuple[int, int]:
    """Return height and width in pixels that a model for these images works at.

    Images of one size keep it, up to 256 pixels; larger ones become 224. Images of several sizes
    become squares with their median side, up to 224. Nothing is smaller than 8 pixels.
    """
    if asked is not None:
        return asked, asked
    own = (stats.height, stats.width)
    if stats.uniform and max(own) <= LARGEST_OWN_SIZE:
        return max(own[0], SMALLEST_SIZE), max(own[1], SMALLEST_SIZE)
    side = max(SMALLEST_SIZE, min(USUAL_SIZE, max(own)))
    return side, side


def image_store(examples: Examples, *, size: tuple[int, int], channels: int) -> Store:
    """Hold the images decoded where half of the free memory is enough; else decode when due."""
    images = examples.inputs
    bytes_each = channels * size[0] * size[1] * (4 if images.is_float else 1)
    if len(images) * bytes_each > available_bytes() // 2:
        return LazyImageStore(images, size, channels)
    return TensorStore(encode_images(images, size=size, channels=channels).contiguous())
