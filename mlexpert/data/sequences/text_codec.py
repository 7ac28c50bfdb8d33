"""Texts as numbers and back: by characters, by bytes, or by byte pairs that were learned.

Number 0 marks where a text begins and ends, 1 stands for what training has not met (bytes and byte
pairs leave nothing unmet); others follow from 2 on. What is fitted is a string of JSON, so that it
travels with the model.

Papers: Sennrich et al. 2016, arXiv:1508.07909 (byte pairs); Radford et al. 2019 (over bytes).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np

from mlexpert.errors import InputError

Kind = Literal["characters", "bytes", "bpe"]
BOUNDARY, UNKNOWN, FIRST = 0, 1, 2
SHOWN = 8
"""Characters that a message names."""


def fit_codec(texts: Sequence[str], kind: Kind, vocab_size: int) -> str:
    """Fit a codec on the texts of train, and return it as JSON.

    Args:
        texts: The texts.
        kind: What one token is.
        vocab_size: Tokens of "bpe", at most.
    """
    about: dict[str, Any] = {"kind": kind}
    if kind == "characters":
        about["characters"] = "".join(sorted(set().union(*texts)))
    elif kind == "bpe":
        about["tokenizer"] = json.loads(_trained_pairs(texts, vocab_size - FIRST))
    return json.dumps(about, ensure_ascii=True)


class TextCodec:
    """Encodes and decodes texts as `fit_codec` has settled.

    Args:
        plain: What `fit_codec` returned.
    """

    def __init__(self, plain: str) -> None:
        self._about = json.loads(plain)
        self.kind: Kind = self._about["kind"]

    @property
    def size(self) -> int:
        """Tokens that there are, boundary and unknown included."""
        if self.kind == "characters":
            return FIRST + len(self._points)
        return FIRST + (256 if self.kind == "bytes" else len(self._pair_bytes))

    def encode(self, text: str) -> np.ndarray:
        """Return the tokens (T,) int32 of a text; characters that are not known become UNKNOWN."""
        if self.kind == "bytes":
            return np.frombuffer(_utf8(text), np.uint8).astype(np.int32) + FIRST
        if self.kind == "bpe":
            ids = self._pairs.encode(text, add_special_tokens=False).ids
            return np.asarray(ids, dtype=np.int32) + FIRST
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        places = np.searchsorted(self._points, points).clip(max=max(len(self._points) - 1, 0))
        known = self._points[places] == points
        return np.where(known, places + FIRST, UNKNOWN).astype(np.int32)

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of tokens; boundaries are left out, and what is unknown is a "�"."""
        if self.kind == "characters":
            letters = ["", "\N{REPLACEMENT CHARACTER}", *map(chr, self._points.tolist())]
            return "".join(letters[token] for token in tokens)
        pieces = (self._bytes_of[token] for token in tokens)
        return b"".join(pieces).decode("utf-8", "replace")

    def num_bytes(self, tokens: np.ndarray) -> np.ndarray:
        """Return the bytes in UTF-8 (T,) int64 that each token stands for; unknown count as one."""
        return self._lengths[tokens]

    def refuse_unknown(self, text: str) -> None:
        """Refuse a text with characters that training has not met.

        Raises:
            InputError: Naming them.
        """
        unknown = sorted({text[place] for place in np.flatnonzero(self.encode(text) == UNKNOWN)})
        if unknown:
            shown = ", ".join(map(repr, unknown[:SHOWN])) + (", ..." if unknown[SHOWN:] else "")
            raise InputError(
                f"the model knows the {self.size - FIRST} characters of its training texts, and "
                f"not {shown}: leave them out, or train with tokenizer='bytes', which knows all."
            )

    @cached_property
    def _points(self) -> np.ndarray:
        return np.array([ord(letter) for letter in self._about["characters"]], dtype=np.uint32)

    @cached_property
    def _lengths(self) -> np.ndarray:
        if self.kind == "characters":
            own = [len(_utf8(chr(point))) for point in self._points.tolist()]
        else:
            own = [len(piece) for piece in self._bytes_of[FIRST:]]
        return np.array([0, 1, *own], dtype=np.int64)

    @cached_property
    def _bytes_of(self) -> list[bytes]:
        own = self._pair_bytes if self.kind == "bpe" else [bytes([byte]) for byte in range(256)]
        return [b"", "\N{REPLACEMENT CHARACTER}".encode(), *own]

    @cached_property
    def _pairs(self) -> Any:
        from tokenizers import Tokenizer

        return Tokenizer.from_str(json.dumps(self._about["tokenizer"]))

    @cached_property
    def _pair_bytes(self) -> list[bytes]:
        letters = _byte_of_letter()
        vocabulary = self._pairs.get_vocab()
        ordered = sorted(vocabulary, key=vocabulary.__getitem__)
        return [bytes(letters[letter] for letter in token) for token in ordered]


def _trained_pairs(texts: Sequence[str], size: int) -> str:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str()


def _byte_of_letter() -> dict[str, int]:
    """Return the byte that each letter of byte-level BPE stands for (Radford et al. 2019).

    Bytes that print stand for themselves, the others for the letters from 256 on, in their order.
    """
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    pairs = [(byte, byte) for byte in printed]
    pairs += [(256 + number, byte) for number, byte in enumerate(others)]
    return {chr(point): byte for point, byte in pairs}


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
