"""Classes of sequences: time series, waveforms and texts, read by the mixer of your choice.

A stem makes features of each step: standardised values, log-mel energies of a waveform, or embedded
tokens. Blocks mix the steps; their mean and maximum over the real steps decide. Convolutions whose
reach doubles from block to block are the default: fast, and the best on small data.

Papers: Bai et al. 2018, arXiv:1803.01271 (convolutions); Wang et al. 2017, arXiv:1611.06455
    (pooling over time); Dao & Gu 2024, arXiv:2405.21060 (SSD); Park et al. 2019,
    arXiv:1904.08779 (masked frequencies).
Differs from the papers: every mixer stands in the same pre-norm block; weights are averaged;
    what is 39 dB below a recording's loudest sound is drowned in even noise.
Results: benchmarks/sequence/results.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

from torch.optim import AdamW

from mlexpert.blocks.optimizers.parameter_groups import layerwise_groups
from mlexpert.blocks.schedules import warmup_cosine
from mlexpert.data.examples import Examples
from mlexpert.data.schema import Schema
from mlexpert.data.sequences.series_rows import holds_series, opened, read_series
from mlexpert.errors import InputError
from mlexpert.families.classifier import ClassifierRecipe
from mlexpert.networks.series import series_network
from mlexpert.recipe import NO_ROLES, Parts
from mlexpert.training.methods.supervised import Supervised

STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 1500, 12, 300
"""Optimiser steps where the number of epochs is left to the recipe, and its ends."""


@dataclass(frozen=True, kw_only=True)
class SequenceCls(ClassifierRecipe):
    """Blocks of a mixer over steps, and pooling over time."""

    name: ClassVar[str] = "sequence-cls"
    version: ClassVar[int] = 1
    kinds: ClassVar = ("series", "text")

    mixer: Literal["conv", "lstm", "transformer", "ssd"] = "conv"
    """What mixes steps: dilated convolutions, a bidirectional LSTM, attention, or a state space
    model (Mamba-2)."""
    sampling_rate: int | None = None
    """Samples a second where series are waveforms, of one channel: log-mel energies are read then.
    None: the values themselves are read."""
    dim: int = 64
    """Features of a step."""
    num_layers: int = 5
    """Blocks."""
    dropout: float = 0.1
    """Share of features dropped in training."""
    max_length: int = 512
    """Tokens of a text that are read."""
    warmup: float = 0.1
    """Fraction of training in which the learning rate rises; it falls along a cosine then."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        for name in ("num_layers", "max_length"):
            self.require(getattr(self, name) >= 1, name, "at least 1")
        self.require(self.dim >= 16 and self.dim % 16 == 0, "dim", "a multiple of 16")
        for name in ("dropout", "warmup"):
            self.require(0 <= getattr(self, name) < 1, name, "0 or more and below 1")
        rate = self.sampling_rate
        self.require(rate is None or rate >= 1000, "sampling_rate", "1000 or more, or None")

    def read(self, ds: Any, roles: Mapping[str, Any] = NO_ROLES) -> dict[str, Examples]:
        """Return series where the data hold lists of numbers, and texts otherwise.

        Raises:
            InputError: If the data cannot be used as it is.
        """
        ds = opened(ds)
        if not holds_series(ds, roles.get("target")):
            return super().read(ds, roles)
        return read_series(ds, sampling_rate=self.sampling_rate, **roles)

    def accept(self, schema: Schema) -> None:
        """Refuse data that the recipe is not for.

        Raises:
            InputError: If the rows are neither series nor texts.
        """
        if schema.kind == "tabular":
            raise InputError(
                f"{self.name} takes series or texts, and these rows are a table of "
                f"{len(schema.columns)} columns; take tabular-cls. Where every column is a step of "
                "a series, give arrays: (table.to_numpy(), labels)."
            )
        super().accept(schema)

    def settle(self, schema: Schema) -> Self:
        """Fill in what depends on the number of rows."""
        rows = max(1, schema.num_examples)
        batch_size = self.batch_size or (16 if rows < 500 else 32)
        per_epoch = max(1, rows // batch_size)
        defaults: dict[str, Any] = {
            "epochs": min(MOST_EPOCHS, max(FEWEST_EPOCHS, round(STEPS / per_epoch))),
            "batch_size": batch_size,
            "lr": 2e-3,
            "weight_decay": 0.05,
            "patience": 0,
            "clip_norm": 1.0,
            "ema": 0.99,
        }
        return replace(self, **{k: v for k, v in defaults.items() if getattr(self, k) is None})

    def build(self, schema: Schema) -> Parts:
        """Assemble network, loss, AdamW and its schedule."""
        assert self.lr is not None and self.weight_decay is not None, "fit settles a recipe first"
        what = self.objective_parts(schema)
        network = series_network(
            schema,
            mixer=self.mixer,
            dim=self.dim,
            num_layers=self.num_layers,
            dropout=self.dropout,
            sampling_rate=self.sampling_rate,
            max_length=self.max_length,
        )
        groups = layerwise_groups(
            network.model, lr=self.lr, weight_decay=self.weight_decay, layer_decay=1.0
        )
        return Parts(
            network=network,
            method=Supervised(what.loss),
            optimizer=AdamW(groups, lr=self.lr, fused=True),
            schedule=warmup_cosine(self.warmup),
            decide=what.decide,
            evaluate=what.evaluate,
            monitor=what.monitor,
        )


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(SequenceCls)
