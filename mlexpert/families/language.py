"""What recipes share that learn a language: reading, windows, exact evaluation, and samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal, NoReturn, Self

import numpy as np
import torch
from torch import Tensor, nn

from mlexpert.blocks.decoding.continuing import continued
from mlexpert.data.examples import Examples
from mlexpert.data.schema import Schema, TextStats
from mlexpert.data.sequences.documents import read_documents
from mlexpert.data.sequences.text_codec import BOUNDARY, UNKNOWN, TextCodec, fit_codec
from mlexpert.data.sequences.text_parts import cut_text
from mlexpert.data.sequences.token_windows import TokenStore, covering, every_start, joined
from mlexpert.data.splits import Splits
from mlexpert.errors import InputError
from mlexpert.families.sequences import SequenceRecipe
from mlexpert.recipe import NO_ROLES, Network, Parts
from mlexpert.training.methods.language import is_scored, nats_of
from mlexpert.training.plan import Data

AT_ONCE = 16_384
"""Tokens that are looked at together in an evaluation."""
SAMPLE = 300
"""Tokens of the report's sample."""
codec_of = lru_cache(maxsize=8)(TextCodec)
"""The codec of a schema: its tables are made once."""


@dataclass(frozen=True, kw_only=True)
class LanguageRecipe(SequenceRecipe):
    """A recipe that learns to go on with texts."""

    predicts: ClassVar = "tokens"
    kinds: ClassVar = ("text",)
    usual: ClassVar[Mapping[str, Any]]
    """What fields are where they are left to the recipe."""

    tokenizer: Literal["characters", "bytes", "bpe"] = "characters"
    """What one token is: a character, a byte of UTF-8, or byte pairs learned on the training
    texts."""
    vocab_size: int = 4096
    """Most tokens of "bpe"."""
    context: int = 64
    """Most tokens that are read for the next one; T in papers, block_size in nanoGPT."""
    steps: int = 2000
    """Optimiser steps in all, rounded up to a multiple of `epochs`: validation is scored as often,
    after equally many of them."""
    stride: int | None = None
    """Tokens that a window scores when a model is evaluated. Fewer than `context` give each token
    more to look back at, and cost more. None: `context`."""
    num_layers: int = 4
    """Blocks."""
    num_heads: int = 4
    """Heads of attention."""
    dim: int = 128
    """Features of a token."""
    dropout: float = 0.0
    """Share of features dropped in training."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        for name in ("context", "steps", "num_layers", "num_heads"):
            self.require(getattr(self, name) >= 1, name, "at least 1")
        self.require(self.vocab_size >= 300, "vocab_size", "at least 300: bytes take 256")
        fits = self.stride is None or 1 <= self.stride <= self.context
        self.require(fits, "stride", f"from 1 to context={self.context}")
        heads = self.num_heads
        self.require(self.dim % (2 * heads) == 0, "dim", f"a multiple of twice num_heads={heads}")
        self.require(0 <= self.dropout < 1, "dropout", "0 or more and below 1")

    def read(self, ds: Any, roles: Mapping[str, Any] = NO_ROLES) -> dict[str, Examples]:
        """Return a user's texts: "all", or the user's own split.

        Raises:
            InputError: If the data cannot be used as it is, or a role means nothing to texts.
        """
        self.refuse_roles(roles, ("target",))
        return read_documents(ds, roles.get("target"))

    def divide(self, parts: Mapping[str, Examples]) -> Splits:
        """Return the parts: of one text its beginning, middle and end; of several at random."""
        pool = parts.get("all", parts.get("train"))
        made = [name for name in ("validation", "test") if name not in parts]
        if pool is None or len(pool) > 1 or (made == ["test"] and not self.test) or not made:
            return super().divide(parts)
        return cut_text(parts, validation=self.validation, test=self.test)

    def describe(self, train: Examples) -> Schema:
        """Return the tokens of the training texts, and their lengths."""
        texts = list(train.inputs)
        plain = fit_codec(texts, self.tokenizer, self.vocab_size)
        lengths = [len(codec_of(plain).encode(text)) for text in texts]
        stats = TextStats(
            plain,
            codec_of(plain).size,
            round(float(np.median(lengths))),
            round(float(np.quantile(lengths, 0.99))),
        )
        return Schema("text", (), (), (), objective="tokens", num_rows=len(train), text=stats)

    def settle(self, schema: Schema) -> Self:
        """Fill in what the paper, or this recipe, takes."""
        usual = {"patience": 0, "clip_norm": 0.0, "ema": 0.0, "weight_decay": 0.0, **self.usual}
        most = usual["epochs"]
        usual["epochs"] = max(one for one in range(1, most + 1) if self.steps % one == 0)
        settled = replace(self, **{k: v for k, v in usual.items() if getattr(self, k) is None})
        assert settled.epochs, "it is settled"
        return replace(settled, steps=-(-self.steps // settled.epochs) * settled.epochs)

    def network(self, model: nn.Module) -> Network:
        """Return the network of a model; its rows are windows, which only `encode` can cut."""

        def refuse(examples: Examples) -> NoReturn:
            raise TypeError("texts are cut into windows by the recipe")

        return Network(model, refuse)

    def encode(self, network: Network, examples: Examples, schema: Schema) -> Data:
        """Return windows: of train all that there are, of other parts those that cover each token.

        Raises:
            InputError: If the texts of train are shorter than one window.
        """
        tokens = joined(list(examples.inputs), _codec(schema))
        if examples.part != "train":
            return self._covered(tokens, self.context)
        if len(tokens) <= self.context:
            raise InputError(
                f"the texts of train have {len(tokens) - 1} tokens, and context={self.context} "
                "needs more: give more text, or a smaller context."
            )
        store = TokenStore(tokens, every_start(len(tokens), self.context + 1), self.context + 1)
        return Data(store, torch.tensor(self.context).expand(len(store)))

    def order(self) -> Callable[[Tensor, float, torch.Generator], Tensor]:
        """Return what draws the windows of an epoch, anywhere in the texts."""
        rows = self.epoch_rows

        def draw(targets: Tensor, progress: float, generator: torch.Generator) -> Tensor:
            return torch.randint(len(targets), (rows,), generator=generator)

        return draw

    @property
    def epoch_rows(self) -> int:
        """Windows between two evaluations."""
        assert self.epochs and self.batch_size, "fit settles a recipe first"
        return self.steps // self.epochs * self.batch_size

    def boundary(self, schema: Schema) -> int | None:
        """Return the token that no one looks across, where there are several texts."""
        return BOUNDARY if schema.num_rows > 1 else None

    def num_tokens(self, schema: Schema) -> int:
        """Return how many tokens there are, V."""
        return _codec(schema).size

    def said(self, parts: Parts, examples: Examples, schema: Schema) -> dict[str, np.ndarray]:
        """Return nats, tokens and bytes (N,) of windows that score every token once."""
        codec, model = _codec(schema), parts.network.model
        data = self._covered(joined(list(examples.inputs), codec), self.stride or self.context)
        pieces: list[list[Tensor]] = [[], []]
        for index in _in_pieces(data):
            windows, scored = data.store.take(index), data.targets[index]
            nats = nats_of(model, windows.to(_device(model)), scored.to(_device(model)))
            lengths = torch.from_numpy(codec.num_bytes(windows[:, 1:].numpy()))
            lengths = lengths * is_scored(windows.shape[1] - 1, scored)
            for held, values in zip(pieces, (nats.cpu().sum(1), lengths.sum(1)), strict=True):
                held.append(values)
        counts = {"nats": torch.cat(pieces[0]), "bytes": torch.cat(pieces[1])}
        counts["tokens"] = data.targets
        return {name: values.double().numpy() for name, values in counts.items()}

    def illustrate(self, parts: Parts, examples: Examples, schema: Schema) -> dict[str, Any]:
        """Return a sample, and the loss by how many tokens were read before."""
        codec, model = _codec(schema), parts.network.model
        data = self._covered(joined(list(examples.inputs), codec), self.context)
        total, count = torch.zeros(data.store.take(torch.tensor([0])).shape[1] - 1), 0
        for index in _in_pieces(data):
            windows, scored = data.store.take(index), data.targets[index]
            nats = nats_of(model, windows.to(_device(model)), scored.to(_device(model)))
            whole = scored == nats.shape[1]  # windows that score all of their places
            total, count = total + nats.cpu()[whole].sum(0), count + int(whole.sum())
        tokens = continued(
            model,
            [BOUNDARY],
            max_new_tokens=SAMPLE,
            generator=torch.Generator().manual_seed(0),
            forbidden=(UNKNOWN,),
        )
        return {
            "samples": [{"prompt": "", "text": codec.decode(tokens)}],
            "by_position": (total / max(count, 1)).tolist() if count else [],
        }

    def _covered(self, tokens: Tensor, stride: int) -> Data:
        width = min(self.context + 1, len(tokens))
        windows = covering(len(tokens), width, min(stride, width - 1))
        return Data(TokenStore(tokens, windows.starts, width), windows.scored)


def _codec(schema: Schema) -> TextCodec:
    assert schema.text is not None, "texts were described"
    return codec_of(schema.text.tokenizer)


def _in_pieces(data: Data) -> tuple[Tensor, ...]:
    width = data.store.take(torch.tensor([0])).shape[1]
    return torch.arange(len(data.targets)).split(max(1, AT_ONCE // width))


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
