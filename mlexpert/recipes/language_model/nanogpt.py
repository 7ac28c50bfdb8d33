"""nanoGPT: the transformer of GPT-2 in its small configuration for a CPU.

Learned positions, layer norms, GELU, a head that shares the embedding's weights, AdamW with a
cosine: the plain model that others are compared with.

Paper: Radford et al. 2019, "Language models are unsupervised multitask learners"; configuration of
    github.com/karpathy/nanoGPT, README, "I only have a macbook".
Differs from the paper: the validation part is scored as a whole where nanoGPT takes 20 random
batches; the vocabulary has a boundary and an unknown character besides; half precision where it is
faster.
Results: benchmarks/sequence/results.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import nn
from torch.optim import AdamW

from mlexpert.blocks.backbones.token_model import TokenModel
from mlexpert.blocks.layers.feed_forward import FeedForward
from mlexpert.blocks.mixers.attention import Attention
from mlexpert.blocks.mixers.pre_norm_block import PreNormBlock
from mlexpert.blocks.optimizers.parameter_groups import layerwise_groups
from mlexpert.blocks.schedules import warmup_cosine
from mlexpert.data.schema import Schema
from mlexpert.families.language import LanguageRecipe
from mlexpert.recipe import Parts
from mlexpert.training.methods.language import NextToken


@dataclass(frozen=True, kw_only=True)
class NanoGpt(LanguageRecipe):
    """The transformer of GPT-2."""

    name: ClassVar[str] = "language-model/nanogpt"
    version: ClassVar[int] = 1
    usual: ClassVar = {
        "epochs": 4,
        "batch_size": 12,
        "lr": 1e-3,
        "weight_decay": 0.1,
        "clip_norm": 1.0,
    }

    warmup: float = 0.05
    """Fraction of training in which the learning rate rises; it falls to a tenth along a cosine
    then."""

    def build(self, schema: Schema) -> Parts:
        """Assemble blocks, AdamW and the cosine."""
        assert self.lr is not None and self.weight_decay is not None, "fit settles a recipe first"
        norm = partial(nn.LayerNorm, bias=False)
        blocks = [
            PreNormBlock(
                Attention(self.dim, num_heads=self.num_heads, rotary=False, dropout=self.dropout),
                FeedForward(self.dim),
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
            learned_positions=True,
            tied=True,
            boundary=self.boundary(schema),
            dropout=self.dropout,
        )
        initialise(model, self.num_layers)
        groups = layerwise_groups(
            model, lr=self.lr, weight_decay=self.weight_decay, layer_decay=1.0
        )
        return self.parts_of(
            self.network(model),
            NextToken(),
            AdamW(groups, lr=self.lr, betas=(0.9, 0.99), fused=True),
            warmup_cosine(self.warmup, end=0.1),
            order=self.order(),
            epoch_rows=self.epoch_rows,
        )


def initialise(model: nn.Module, num_layers: int) -> None:
    """Draw weights from N(0, 0.02), those that end a residual branch 1 / sqrt(2 L) of that."""
    for name, weight in model.named_parameters():
        if weight.ndim >= 2:
            branch = math.sqrt(2 * num_layers) if name.endswith("project_out.weight") else 1.0
            nn.init.normal_(weight, std=0.02 / branch)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(NanoGpt)
