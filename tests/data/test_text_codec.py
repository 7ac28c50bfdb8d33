"""Texts become tokens and texts again, whatever they hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlexpert.data.sequences.text_codec import BOUNDARY, FIRST, UNKNOWN, TextCodec, fit_codec
from mlexpert.errors import InputError

TRAIN = ["the cat sees the dog; the dog sees the cat. " * 20, "Ünïcode: é, 漢字, 🙂\n\ttabs"]
KINDS = ("characters", "bytes", "bpe")


@pytest.fixture(scope="module")
def codecs() -> dict[str, TextCodec]:
    return {kind: TextCodec(fit_codec(TRAIN, kind, 300)) for kind in KINDS}  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_training_texts_come_back(codecs: dict[str, TextCodec], kind: str) -> None:
    codec = codecs[kind]
    for text in TRAIN:
        tokens = codec.encode(text)
        assert codec.decode(tokens.tolist()) == text
        assert tokens.dtype == np.int32 and tokens.min() >= FIRST and tokens.max() < codec.size
        assert codec.num_bytes(tokens).sum() == len(text.encode())


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=40))
@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_bytes_and_pairs_know_every_text(
    codecs: dict[str, TextCodec], kind: str, text: str
) -> None:
    tokens = codecs[kind].encode(text)
    assert UNKNOWN not in tokens and codecs[kind].decode(tokens.tolist()) == text
    assert codecs[kind].num_bytes(tokens).sum() == len(text.encode())


def test_characters_are_those_of_train_and_others_are_unknown(codecs: dict[str, TextCodec]) -> None:
    codec = codecs["characters"]
    assert codec.size == FIRST + len(set("".join(TRAIN)))
    tokens = codec.encode("cat!Ж")
    assert tokens.tolist()[3:] == [UNKNOWN, UNKNOWN] and UNKNOWN not in tokens[:3]
    assert codec.decode([BOUNDARY, *tokens.tolist()]) == "cat\ufffd\ufffd"
    assert codec.num_bytes(tokens).tolist() == [1, 1, 1, 1, 1]
    codec.refuse_unknown("the cat")
    with pytest.raises(InputError, match=rf"the {codec.size - FIRST} characters .* '!', 'Ж'"):
        codec.refuse_unknown("cat!Ж")


def test_pairs_are_merged_and_fewer_than_bytes(codecs: dict[str, TextCodec]) -> None:
    assert codecs["bpe"].size <= 300 and codecs["bytes"].size == FIRST + 256
    assert len(codecs["bpe"].encode(TRAIN[0])) < len(codecs["bytes"].encode(TRAIN[0])) / 2


def test_pairs_are_cut_as_the_library_cuts_them(codecs: dict[str, TextCodec]) -> None:
    """The decoder of `tokenizers` itself gives what the table of bytes gives."""
    from tokenizers import decoders

    codec, text = codecs["bpe"], "the cat, é 🙂 漢"
    decoder = decoders.ByteLevel()
    names = [codec._pairs.id_to_token(token - FIRST) for token in codec.encode(text).tolist()]
    assert decoder.decode(names) == text == codec.decode(codec.encode(text).tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_give_the_same_codec(kind: str) -> None:
    assert fit_codec(TRAIN, kind, 300) == fit_codec(TRAIN, kind, 300)  # type: ignore[arg-type]
