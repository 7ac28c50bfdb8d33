"""A small transformer as it is built today, and trained by Muon.

Rotary positions, root mean square norms without weights, queries and keys that are normed, squared
ReLU, projections that end a branch at zero: a block is the identity at first. Matrices are moved by
Muon, which makes an update's directions equally large; embedding and head by AdamW.

Papers: Su et al. 2021, arXiv:2104.09864 (rotary); Zhang & Sennrich 2019, arXiv:1910.07467 (norm);
    Henry et al. 2020, arXiv:2010.04245 (normed queries and keys); So et al. 2021, arXiv:2109.08668
    (squared ReLU); Jordan et al. 2024 (Muon).
Differs from the papers: all of them together; the rate is constant, then falls linearly to zero.
Results: benchmarks/sequence/results.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import nn

from mlexpert.blocks.backbones.token_model import TokenModel
from mlexpert.blocks.layers.feed_forward import FeedForward
from mlexpert.blocks.layers.rms_norm import RMSNorm
from mlexpert.blocks.mixers.attention import Attention
from mlexpert.blocks.mixers.pre_norm_block import PreNormBlock
from mlexpert.blocks.optimizers.muon_adam import MuonAdam
from mlexpert.blocks.schedules import stable_then_linear
from mlexpert.data.schema import Schema
from mlexpert.families.language import LanguageRecipe
from mlexpert.recipe import Parts
from mlexpert.training.methods.language import NextToken


@dataclass(frozen=True, kw_only=True)
class LanguageModel(LanguageRecipe):
    """Rotary transformer blocks, moved by Muon."""

    name: ClassVar[str] = "language-model"
    version: ClassVar[int] = 1
    usual: ClassVar = {"epochs": 4, "batch_size": 12, "lr": 0.02}

    embedding_lr: float = 0.01
    """Peak learning rate of embedding and head, by AdamW; lr is that of the matrices, by Muon."""
    hold: float = 0.3
    """Fraction of training up to which the learning rates are constant; they fall linearly to zero
    then."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(0 < self.embedding_lr < math.inf, "embedding_lr", "above 0")
        self.require(0 <= self.hold < 1, "hold", "0 or more and below 1")

    def build(self, schema: Schema) -> Parts:
        """Assemble blocks, Muon with AdamW, and the schedule."""
        assert self.lr is not None and self.weight_decay is not None, "fit settles a recipe first"
        norm = partial(RMSNorm, weight=False)
        blocks = [
            PreNormBlock(
                Attention(self.dim, num_heads=self.num_heads, qk_norm=True, dropout=self.dropout),
                FeedForward(self.dim, activation="relu2"),
                dim=self.dim,
                norm=norm,
                dropout=self.dropout,
            )
            for _ in range(self.num_layers)
        ]
        model = TokenModel(
            blocks,
            vocab_size=self.num_tokens(schema),
            dim=self.dim,
            norm=norm,
            context=self.context,
            boundary=self.boundary(schema),
            norm_embedding=True,
            dropout=self.dropout,
        )
        initialise(model)
        inside = list(model.blocks.parameters())
        outside = [one for name, one in model.named_parameters() if "blocks" not in name]
        groups = [
            {"params": inside, "orthogonal": True, "weight_decay": self.weight_decay},
            {"params": outside, "lr": self.embedding_lr},
        ]
        return self.parts_of(
            self.network(model),
            NextToken(),
            MuonAdam(groups, lr=self.lr),
            stable_then_linear(self.hold),
            order=self.order(),
            epoch_rows=self.epoch_rows,
        )


def initialise(model: TokenModel) -> None:
    """Draw projections uniformly by their width; zero are the head and those that end a branch."""
    for name, weight in model.named_parameters():
        if name.endswith("project_out.weight") or name == "head.weight":
            nn.init.zeros_(weight)
        elif name != "embedding.weight":
            bound = math.sqrt(3.0 / weight.shape[1])
            with torch.no_grad():
                weight.uniform_(-bound, bound)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(LanguageModel)
