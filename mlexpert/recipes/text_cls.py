"""Classification of texts: from scratch by what words stand side by side, or by fine-tuning.

From scratch: convolutions over whole words as they are written, a small ensemble with one
embedding; the vocabulary is that of the training texts. Named, any encoder of the transformers
library is fine-tuned instead, all of it or by low-rank updates.

Paper: Kim 2014, arXiv:1408.5882 (convolutions); Devlin et al. 2018, arXiv:1810.04805
    (fine-tuning); Hu et al. 2021, arXiv:2106.09685 (LoRA).
Differs from the papers: members of an ensemble share the embedding; tokens are dropped at random;
rates fall with depth in fine-tuning, and with LoRA every linear layer of the blocks has an update.
Results: benchmarks/classification/results.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from torch.optim import AdamW

from mlexpert.blocks.optimizers.parameter_groups import layerwise_groups
from mlexpert.blocks.schedules import warmup_cosine, warmup_linear
from mlexpert.data.schema import Schema
from mlexpert.data.tokenizer import Vocabulary
from mlexpert.families.classifier import ClassifierRecipe
from mlexpert.networks.texts import cnn_network, encoder_network, text_stats
from mlexpert.recipe import Network, Parts
from mlexpert.training.methods.supervised import Supervised

TEXTS_SEEN = 30_000
"""In all epochs together, where their number is left to the recipe."""


@dataclass(frozen=True, kw_only=True)
class TextCls(ClassifierRecipe):
    """Convolutions from scratch, or a pretrained encoder, for classes or labels."""

    name: ClassVar[str] = "text-cls"
    version: ClassVar[int] = 1
    kinds: ClassVar = ("text",)
    vocabulary: ClassVar = Vocabulary(unit="words", size=30_000, min_frequency=1, lowercase=False)

    validation: float = 0.1
    """Share of the rows held out for validation, where the data brings no validation split. Less
    than elsewhere: what a text says in words that no training text has is lost."""
    backbone: str = "auto"
    """auto: convolutions, from scratch. Or the name or folder of an encoder of the transformers
    library, with its weights and tokenizer."""
    lora_rank: int = 0
    """Rank of the updates that are trained in place of a pretrained encoder's weights; r in the
    paper, 8 or 16 as a rule. 0 trains the weights. Needs `pip install 'mlexpert[lora]'`."""
    max_length: int = 256
    """Tokens of a text that are read; the rest is cut off."""
    members: int = 3
    """Networks in the ensemble from scratch; time grows with them."""
    dropout: float | None = None
    """Share of features dropped in training. None: 0.5 from scratch, and what a pretrained encoder
    brings."""
    token_dropout: float = 0.1
    """Share of tokens dropped in training from scratch."""
    warmup: float = 0.1
    """Fraction of training in which the learning rate rises."""
    decay: Literal["linear", "cosine"] = "linear"
    """How the learning rate falls to zero after that."""
    layer_decay: float | None = None
    """Factor on the learning rate from one block of a pretrained encoder to the next below it.
    None: 0.9, and 1 with LoRA and from scratch (Clark et al. 2020, arXiv:2003.10555)."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        tunes = self.backbone != "auto"
        self.require(self.lora_rank >= 0, "lora_rank", "0 or more")
        self.require(not self.lora_rank or tunes, "lora_rank", "0 where backbone is 'auto'")
        self.require(self.max_length >= 1, "max_length", "at least 1")
        self.require(self.members >= 1, "members", "at least 1")
        for name in ("dropout", "token_dropout", "warmup"):
            value = getattr(self, name)
            self.require(value is None or 0 <= value < 1, name, "0 or more and below 1")
        decay = self.layer_decay
        self.require(decay is None or 0 < decay <= 1, "layer_decay", "above 0 and at most 1")

    def settle(self, schema: Schema) -> Self:
        """Fill in what depends on the network and on the number of texts.

        Raises:
            InputError: If the rows are no texts.
        """
        text_stats(schema)
        rows, tunes = max(1, schema.num_examples), self.backbone != "auto"
        batch_size = min(32 if tunes else 64, max(16, 2 ** round(math.log2(rows / 64))))
        passes = (3, 20) if tunes else (1, 30)
        rate = (5e-4 if self.lora_rank else 3e-5) if tunes else 2e-3
        defaults = {
            "epochs": min(passes[1], max(passes[0], math.ceil(TEXTS_SEEN / rows))),
            "batch_size": batch_size,
            "lr": rate,
            "weight_decay": 0.01,
            "patience": 0,
            "clip_norm": 1.0 if tunes else 0.0,
            "ema": 0.0,
            "layer_decay": 0.9 if tunes and not self.lora_rank else 1.0,
        }
        return replace(self, **{k: v for k, v in defaults.items() if getattr(self, k) is None})

    def build(self, schema: Schema) -> Parts:
        """Assemble network, loss, AdamW and its schedule."""
        what = self.objective_parts(schema)
        network = self._network(schema)
        assert self.lr is not None and self.weight_decay is not None, "fit settles a recipe first"
        groups = layerwise_groups(
            network.model,
            lr=self.lr,
            weight_decay=self.weight_decay,
            layer_decay=self.layer_decay or 1.0,
        )
        falls = warmup_linear if self.decay == "linear" else warmup_cosine
        return Parts(
            network=network,
            method=Supervised(what.loss),
            optimizer=AdamW(groups, lr=self.lr, fused=True),
            schedule=falls(self.warmup),
            decide=what.decide,
            evaluate=what.evaluate,
            monitor=what.monitor,
        )

    def _network(self, schema: Schema) -> Network:
        if self.backbone != "auto":
            return encoder_network(
                schema,
                name=self.backbone,
                max_length=self.max_length,
                lora_rank=self.lora_rank,
                dropout=self.dropout,
            )
        return cnn_network(
            schema,
            max_length=self.max_length,
            members=self.members,
            dropout=0.5 if self.dropout is None else self.dropout,
            token_dropout=self.token_dropout,
        )


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(TextCls)
