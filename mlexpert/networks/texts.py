"""Networks for texts: our own small ones, or any transformers encoder."""

from __future__ import annotations

import warnings
from functools import partial

from mlexpert.blocks.backbones.pretrained_text import ENCODER_FOLDER, PretrainedText
from mlexpert.blocks.backbones.text_cnn import TextCnn
from mlexpert.blocks.backbones.text_transformer import TextTransformer
from mlexpert.data.batches import RaggedStore, Store
from mlexpert.data.encode import encode_texts
from mlexpert.data.examples import Examples
from mlexpert.data.schema import Schema, TextStats
from mlexpert.errors import InputError
from mlexpert.recipe import Network


def text_network(schema: Schema, *, backbone: str = "auto", max_length: int = 256) -> Network:
    """Return a network for texts and the tokenizer that goes with it.

    Args:
        schema: Of the training texts.
        backbone: "auto" for a small encoder from scratch, or the name or folder of a transformers
            encoder.
        max_length: Tokens of a text that are read.

    Raises:
        InputError: If the encoder is not known or cannot be had.
    """
    if backbone != "auto":
        return encoder_network(schema, name=backbone, max_length=max_length)
    stats = text_stats(schema)
    model = TextTransformer(
        vocab_size=stats.vocab_size, num_classes=schema.num_outputs, max_length=max_length
    )
    encode = partial(text_store, tokenizer=stats.tokenizer, max_length=max_length)
    return Network(model, encode)


def encoder_network(
    schema: Schema,
    *,
    name: str,
    max_length: int = 256,
    lora_rank: int = 0,
    dropout: float | None = None,
) -> Network:
    """Return a pretrained encoder and its own tokenizer.

    Args:
        schema: Of the training texts.
        name: Name or folder of a transformers encoder.
        max_length: Tokens of a text that are read; fewer where the encoder takes fewer.
        lora_rank: Rank of the updates that are trained in place of the weights; 0 trains these.
        dropout: Share of features dropped in training; None leaves it as the encoder has it.

    Raises:
        InputError: If the encoder is not known or cannot be had.
    """
    encoder = PretrainedText(
        name, num_classes=schema.num_outputs, lora_rank=lora_rank, dropout=dropout
    )
    longest = min(max_length, encoder.max_length)
    encode = partial(text_store, tokenizer=encoder.tokenizer_json, max_length=longest)
    return Network(encoder, encode, {ENCODER_FOLDER: encoder.save_companions})


def cnn_network(
    schema: Schema,
    *,
    max_length: int = 256,
    members: int = 3,
    dropout: float = 0.5,
    embedding_dropout: float = 0.0,
    token_dropout: float = 0.1,
) -> Network:
    """Return convolutions from scratch, and the tokenizer that was trained on the same texts.

    Args:
        schema: Of the training texts.
        max_length: Tokens of a text that are read.
        members: Networks in the ensemble.
        dropout: Share of features dropped in training.
        embedding_dropout: Share of the features of words dropped in training.
        token_dropout: Share of tokens dropped in training.
    """
    stats = text_stats(schema)
    model = TextCnn(
        vocab_size=stats.vocab_size,
        num_classes=schema.num_outputs,
        members=members,
        dropout=dropout,
        embedding_dropout=embedding_dropout,
        token_dropout=token_dropout,
    )
    encode = partial(text_store, tokenizer=stats.tokenizer, max_length=max_length)
    return Network(model, encode)


def text_stats(schema: Schema) -> TextStats:
    """Return the statistics of training texts.

    Raises:
        InputError: If the rows are no texts.
    """
    if schema.text is None:
        raise InputError(f"This network is for texts, and these rows are {schema.kind}.")
    return schema.text


def text_store(examples: Examples, *, tokenizer: str, max_length: int) -> Store:
    """Hold the token ids of the texts, end to end; say so where training texts are cut."""
    store = RaggedStore(*encode_texts(examples.inputs, tokenizer, max_length))
    full = int((store.offsets.diff() >= max_length).sum())
    if full and examples.part == "train":
        warnings.warn(
            f"{full} of {len(store)} training texts reach max_length={max_length} tokens; what "
            "they have beyond is not read.",
            stacklevel=2,
        )
    return store
