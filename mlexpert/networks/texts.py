"""Networks for texts: our own small encoder, or any transformers encoder."""

from __future__ import annotations

from functools import partial

from mlexpert.blocks.backbones.pretrained_text import ENCODER_FOLDER, PretrainedText
from mlexpert.blocks.backbones.text_transformer import TextTransformer
from mlexpert.data.batches import RaggedStore, Store
from mlexpert.data.encode import encode_texts
from mlexpert.data.examples import Examples
from mlexpert.data.schema import Schema
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
    stats = schema.text
    assert stats is not None, "a text schema has text statistics"
    if backbone == "auto":
        model = TextTransformer(
            vocab_size=stats.vocab_size, num_classes=schema.num_outputs, max_length=max_length
        )
        encode = partial(text_store, tokenizer=stats.tokenizer, max_length=max_length)
        return Network(model, encode)
    encoder = PretrainedText(backbone, num_classes=schema.num_outputs)
    longest = min(max_length, encoder.max_length)
    encode = partial(text_store, tokenizer=encoder.tokenizer_json, max_length=longest)
    return Network(encoder, encode, {ENCODER_FOLDER: encoder.save_companions})


def text_store(examples: Examples, *, tokenizer: str, max_length: int) -> Store:
    """Hold the token ids of the texts, end to end."""
    return RaggedStore(*encode_texts(examples.inputs, tokenizer, max_length))
