"""Remix: images are mixed in pairs, and where one class is much rarer it gets all of the target.

Mixup averages two images and their targets alike. Here the target leans to the rarer class: where
the other has kappa times its rows and less than tau of the image, it has none of the target.

Paper: Chou et al. 2020, arXiv:2007.03943, equations 4 to 6.
Differs from the paper: each pair has a share of its own; probabilities are put back to the natural
prior by the share of all targets that each class has. For images only: the mean of two texts or of
two categories is no text and no category.
Results: benchmarks/imbalanced_cls/results.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from mlexpert.blocks.augment.remix import remix, remix_log_weight
from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.data.schema import Schema
from mlexpert.families.classification import ClassificationRecipe
from mlexpert.recipe import Parts
from mlexpert.training.method import Batch
from mlexpert.training.methods.image_augmentation import mixed
from mlexpert.training.methods.supervised import Supervised


@dataclass(frozen=True, kw_only=True)
class Remix(ClassificationRecipe):
    """Cross-entropy on mixed images whose targets lean to rare classes."""

    name: ClassVar[str] = "imbalanced-cls/remix"
    version: ClassVar[int] = 1
    kinds: ClassVar = ("image",)

    alpha: float = 1.0
    """Of Beta(alpha, alpha), from which the shares of the images are drawn, above 0: near 0 hardly
    mixes, 1 mixes evenly."""
    kappa: float = 3.0
    """How many times as many rows a class has to have, above 1, for the rarer one to have all of
    the target."""
    tau: float = 0.5
    """Share of a frequent class's image from which on it keeps its share of the target, from 0
    (mixup) to 1."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(0 < self.alpha < math.inf, "alpha", "a number above 0")
        self.require(1 < self.kappa < math.inf, "kappa", "a number above 1")
        self.require(0 <= self.tau <= 1, "tau", "from 0 to 1")

    def build(self, schema: Schema) -> Parts:
        """Assemble network, cross-entropy and mixed images."""
        counts, moved = torch.tensor(schema.class_counts), self.augmentation()
        log_weight = remix_log_weight(
            schema.class_counts, alpha=self.alpha, kappa=self.kappa, tau=self.tau
        )

        def augment(batch: Batch) -> Batch:
            mix = partial(
                remix,
                row_counts=counts.to(batch.targets.device)[batch.targets],
                alpha=self.alpha,
                kappa=self.kappa,
                tau=self.tau,
            )
            return mixed(moved(batch), mix, len(counts))

        method = Supervised(cross_entropy, augment=augment)
        return self.parts(schema, self.network(schema), method, log_weight=log_weight)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(Remix)
