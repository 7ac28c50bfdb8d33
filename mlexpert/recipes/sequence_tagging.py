"""A tag for each word of a sentence: part of speech, or spans of entities.

A word is read as itself and by its characters, so that a word that training has not met still shows
its capitals, digits and ending. A bidirectional LSTM (or a transformer) reads the sentence; where
tags mark spans, a linear chain scores how they follow one another.

Paper: Huang et al. 2015, arXiv:1508.01991 (bidirectional LSTM and CRF); Ma and Hovy 2016,
    arXiv:1603.01354 (convolutions over characters); Lafferty et al. 2001 (CRF).
Differs from the papers: no word vectors from elsewhere; beginnings and endings have embeddings of
their own; words are dropped to unknown; weights are averaged.
Results: benchmarks/sequence/results.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch.optim import AdamW

from mlexpert.blocks.backbones.tagger import Tagger
from mlexpert.blocks.layers.word_features import WordFeatures
from mlexpert.blocks.optimizers.parameter_groups import layerwise_groups
from mlexpert.blocks.schedules import warmup_linear
from mlexpert.data.schema import Schema
from mlexpert.data.sequences.word_codes import WIDTH, character_kinds, encode_words
from mlexpert.families.tagging import TaggingRecipe, entity_error, marks_spans
from mlexpert.recipe import Network, Parts
from mlexpert.training.methods.tagging import Tagging

WORDS_SEEN = 1_600_000
"""In all epochs together, where their number is left to the recipe."""


@dataclass(frozen=True, kw_only=True)
class SequenceTagging(TaggingRecipe):
    """A bidirectional LSTM or a transformer over words and their characters."""

    name: ClassVar[str] = "sequence-tagging"
    version: ClassVar[int] = 1

    encoder: Literal["bilstm", "transformer"] = "bilstm"
    """What reads the sentence."""
    crf: bool | None = None
    """Whether a linear chain scores how tags follow one another. None: where tags mark spans, as
    B-person and I-person do."""
    dim: int = 256
    """Features of a word in its sentence, of both directions together."""
    num_layers: int = 1
    """Layers of the encoder."""
    word_dim: int = 100
    """Features of a word's embedding."""
    num_filters: int = 64
    """Features of the convolution over a word's characters."""
    affix_dim: int = 16
    """Features of each beginning and ending of a word, of two and of three characters."""
    dropout: float | None = None
    """Share of features dropped in training. None: 0.4, and 0.5 where tags mark spans."""
    word_dropout: float | None = None
    """Share of words that are unknown in training. None: 0.1, and 0.3 where tags mark spans."""
    miss_cost: float = 2.0
    """Where tags mark spans: added in training to the score of "O" at words of entities, so that
    fewer are missed (Mohit et al. 2012). 0 is plain likelihood."""
    batch_tokens: int | None = None
    """Most words of a batch, padding included. None: 512, unless `batch_size` is given."""
    warmup: float = 0.05
    """Fraction of training in which the learning rate rises; it falls linearly to zero then."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        for name in ("num_layers", "word_dim", "num_filters", "batch_tokens"):
            value = getattr(self, name)
            self.require(value is None or value >= 1, name, "at least 1")
        self.require(self.dim >= 2 and self.dim % 2 == 0, "dim", "an even number")
        self.require(0 <= self.miss_cost < math.inf, "miss_cost", "a number of 0 or more")
        self.require(self.affix_dim >= 0, "affix_dim", "0 or more")
        for name in ("dropout", "word_dropout", "warmup"):
            value = getattr(self, name)
            self.require(value is None or 0 <= value < 1, name, "0 or more and below 1")

    def settle(self, schema: Schema) -> Self:
        """Fill in what depends on the tags and on the number of words."""
        spans, words = marks_spans(schema), max(1, sum(schema.class_counts))
        by_rows = self.batch_size is not None
        defaults: dict[str, Any] = {
            "epochs": min(60, max(3, round(WORDS_SEEN / words))),
            "batch_size": 32,
            "batch_tokens": None if by_rows else 512,
            "lr": 5e-3 if spans else 4e-3,
            "weight_decay": 0.01,
            "patience": 0,
            "clip_norm": 1.0,
            "ema": 0.99,
            "crf": spans,
            "dropout": 0.5 if spans else 0.4,
            "word_dropout": 0.3 if spans else 0.1,
        }
        return replace(self, **{k: v for k, v in defaults.items() if getattr(self, k) is None})

    def build(self, schema: Schema) -> Parts:
        """Assemble features, encoder, chain, AdamW and its schedule."""
        stats = schema.words
        assert stats is not None and self.lr is not None and self.weight_decay is not None
        features = WordFeatures(
            2 + len(stats.words),
            4 + len(stats.characters),
            word_dim=self.word_dim,
            num_filters=self.num_filters,
            affix_dim=self.affix_dim,
            kinds=torch.tensor(character_kinds(stats)),
            word_dropout=self.word_dropout or 0.0,
            affix_dropout=self.word_dropout or 0.0,
        )
        model = Tagger(
            features,
            width=WIDTH,
            num_tags=schema.num_classes,
            encoder=self.encoder,
            dim=self.dim,
            num_layers=self.num_layers,
            dropout=self.dropout or 0.0,
            crf=bool(self.crf),
        )
        groups = layerwise_groups(
            model, lr=self.lr, weight_decay=self.weight_decay, layer_decay=1.0
        )
        spans = marks_spans(schema)
        return self.parts_of(
            Network(model, lambda examples: encode_words(examples.inputs, stats)),
            Tagging(
                outside=schema.classes.index("O") if spans else None,
                miss_cost=self.miss_cost,
                entity_error=entity_error(schema) if spans else None,
            ),
            AdamW(groups, lr=self.lr, fused=True),
            warmup_linear(self.warmup),
            monitor="entity_error" if spans else "tag_error",
            batch_tokens=None if self.batch_tokens is None else self.batch_tokens * WIDTH,
        )


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(SequenceTagging)
