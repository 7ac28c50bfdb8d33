"""Networks of which only the last layer is to be found: features that stay as they are."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import nn

from mlexpert.blocks.backbones.mean_of_tokens import MeanOfTokens
from mlexpert.blocks.backbones.pretrained_text import PretrainedText
from mlexpert.blocks.layers.column_features import ColumnFeatures
from mlexpert.blocks.layers.image_normalize import ImageNormalize
from mlexpert.blocks.layers.token_bag import TokenBag
from mlexpert.data.encode import FIRST_CODE
from mlexpert.data.memory import available_bytes
from mlexpert.data.schema import Numeric, Schema
from mlexpert.errors import InputError
from mlexpert.networks.images import image_network, image_size_of, image_store
from mlexpert.networks.tables import table_store
from mlexpert.networks.texts import encoder_network, text_stats, text_store
from mlexpert.recipe import Network

TEXT_FEATURES = 1024
"""Random coordinates of a bag of words."""


def frozen_network(
    schema: Schema,
    *,
    backbone: str = "auto",
    image_size: int | None = None,
    pretrained: bool = False,
    max_length: int = 256,
) -> Network:
    """Return a network that ends in an `nn.Linear` or a head like it, before which nothing trains.

    With "auto" no weights are needed: an image is its standardised pixels, a table its columns, and
    a text the bag of its words. A network that was trained on other data mostly does better.

    Args:
        schema: Of the training rows.
        backbone: "auto", or the name of a timm model or of a transformers encoder.
        image_size: Height and width that images are resized to; see `image_size_of`.
        pretrained: Whether a timm model has its published weights. One without is a random network.
        max_length: Tokens of a text that are read.

    Raises:
        InputError: If the backbone is not known for this kind of rows, or cannot be had.
    """
    if backbone != "auto" and schema.kind != "tabular":
        if schema.kind == "image":
            network = image_network(
                schema, backbone=backbone, image_size=image_size, pretrained=pretrained
            )
        else:
            network = _encoder(schema, backbone, max_length)
        network.model.requires_grad_(False)
        return network
    if backbone != "auto":
        raise InputError(f"backbone={backbone!r}: a table is its columns; leave it at 'auto'.")
    if schema.kind == "image":
        return _pixels(schema, image_size)
    if schema.kind == "text":
        return _words(schema, max_length)
    return _columns(schema)


def require_room(num_features: int, way_out: str) -> None:
    """Refuse statistics of pairs of features that this machine's memory does not hold.

    Args:
        num_features: Features, F; solving takes about four matrices (F, F) of float64.
        way_out: What to set instead, for the message.

    Raises:
        InputError: Saying how much is needed, and how much there is.
    """
    needed, there = 32 * num_features**2, available_bytes()
    if needed > there:
        raise InputError(
            f"The products of {num_features} features with one another take {needed / 2**30:.1f} "
            f"GiB, and {there / 2**30:.1f} are free; {way_out}."
        )


def _pixels(schema: Schema, image_size: int | None) -> Network:
    stats = schema.image
    assert stats is not None, "an image schema has image statistics"
    size, channels = image_size_of(stats, image_size), stats.channels
    model = nn.Sequential(
        ImageNormalize(stats.mean, stats.std),
        nn.Flatten(),
        nn.Linear(channels * size[0] * size[1], schema.num_outputs),
    )
    return Network(model, partial(image_store, size=size, channels=channels))


def _words(schema: Schema, max_length: int) -> Network:
    stats = text_stats(schema)
    bag = TokenBag(stats.vocab_size, TEXT_FEATURES)
    model = nn.Sequential(bag, nn.Linear(TEXT_FEATURES, schema.num_outputs))
    return Network(model, partial(text_store, tokenizer=stats.tokenizer, max_length=max_length))


def _encoder(schema: Schema, name: str, max_length: int) -> Network:
    network = encoder_network(schema, name=name, max_length=max_length)
    assert isinstance(network.model, PretrainedText), "an encoder of the transformers library"
    return replace(network, model=MeanOfTokens(network.model, schema.num_outputs))


def _columns(schema: Schema) -> Network:
    columns = ColumnFeatures(
        [
            column.quantiles if isinstance(column, Numeric) else len(column.categories) + FIRST_CODE
            for column in schema.columns
        ]
    )
    model = nn.Sequential(columns, nn.Linear(columns.out_features, schema.num_outputs))
    return Network(model, partial(table_store, columns=schema.columns))
