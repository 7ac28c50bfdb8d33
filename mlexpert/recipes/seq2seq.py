"""One sequence made of another: a transformer reads the source and writes the target.

An encoder reads the source from both sides, a decoder writes one token after the other and looks up
in the source what it needs. It is trained with the true tokens before each given.

Paper: Vaswani et al. 2017, arXiv:1706.03762 (encoder, decoder, label smoothing); Xiong et al. 2020,
    arXiv:2002.04745 (norm before every sublayer); Su et al. 2021, arXiv:2104.09864 (rotary).
Differs from the papers: places are told by sines and, within a sequence, by rotation as well; norms
are by root mean square; the learning rate falls linearly.
Results: benchmarks/sequence/results.md
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch.optim import AdamW

from mlexpert.blocks.backbones.encoder_decoder import EncoderDecoder
from mlexpert.blocks.optimizers.parameter_groups import layerwise_groups
from mlexpert.blocks.schedules import warmup_linear
from mlexpert.data.schema import Schema
from mlexpert.data.sequences.symbols import encode_symbols
from mlexpert.families.transduction import TransductionRecipe, both
from mlexpert.recipe import Network, Parts
from mlexpert.training.methods.transduction import Transduction

PAIRS_SEEN = 120_000
"""In all epochs together, where their number is left to the recipe."""


@dataclass(frozen=True, kw_only=True)
class Seq2Seq(TransductionRecipe):
    """A transformer with encoder and decoder, from scratch."""

    name: ClassVar[str] = "seq2seq"
    version: ClassVar[int] = 1

    dim: int = 128
    """Features of a token."""
    num_layers: int = 2
    """Layers of the encoder, and as many of the decoder."""
    num_heads: int = 4
    """Heads of attention; they divide `dim`."""
    dropout: float = 0.1
    """Share of features dropped in training."""
    label_smoothing: float = 0.1
    """Share of a token's probability that is spread over all tokens in training."""
    batch_tokens: int | None = None
    """Most symbols of the sources of a batch, ends and padding included. None: 512, unless
    `batch_size` is given."""
    warmup: float = 0.1
    """Fraction of training in which the learning rate rises; it falls linearly to zero then."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(self.num_layers >= 1, "num_layers", "at least 1")
        tokens = self.batch_tokens
        self.require(tokens is None or tokens >= 1, "batch_tokens", "at least 1")
        self.require(self.num_heads >= 1, "num_heads", "at least 1")
        # Rotation turns pairs of a head's features.
        fits = self.dim >= 1 and self.dim % (2 * self.num_heads) == 0
        self.require(fits, "dim", f"a multiple of {2 * self.num_heads}, twice num_heads")
        for name in ("dropout", "label_smoothing", "warmup"):
            self.require(0 <= getattr(self, name) < 1, name, "0 or more and below 1")

    def settle(self, schema: Schema) -> Self:
        """Fill in what depends on the number of pairs."""
        rows, by_rows = max(1, schema.num_examples), self.batch_size is not None
        defaults: dict[str, Any] = {
            "epochs": min(100, max(3, round(PAIRS_SEEN / rows))),
            "batch_size": 64,
            "batch_tokens": None if by_rows else 512,
            "lr": 2e-3,
            "weight_decay": 0.01,
            "patience": 0,
            "clip_norm": 1.0,
            "ema": 0.0,
        }
        return replace(self, **{k: v for k, v in defaults.items() if getattr(self, k) is None})

    def build(self, schema: Schema) -> Parts:
        """Assemble encoder and decoder, AdamW and its schedule."""
        sources, targets = both(schema)
        assert self.lr is not None and self.weight_decay is not None, "fit settles a recipe first"
        model = EncoderDecoder(
            sources.vocab_size,
            targets.vocab_size,
            dim=self.dim,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            dropout=self.dropout,
        )
        groups = layerwise_groups(
            model, lr=self.lr, weight_decay=self.weight_decay, layer_decay=1.0
        )
        return self.parts_of(
            Network(model, lambda examples: encode_symbols(examples.inputs, sources)),
            Transduction(self.label_smoothing),
            AdamW(groups, lr=self.lr, fused=True),
            warmup_linear(self.warmup),
            batch_tokens=self.batch_tokens,
        )


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(Seq2Seq)
