"""Randomised smoothing: training on Gaussian noise, for answers that can be certified.

The network learns images with noise of standard deviation sigma. The smoothed classifier, which
answers with what the network says most often under that noise, then has for every image an L2
radius within which its answer provably does not change: `certify(fitted, rows)` of
`mlexpert.robustness.certifying`. Larger sigma, larger radii and lower accuracy. `predict` and
`evaluate` ask the network itself.

Paper: Cohen et al. 2019, arXiv:1902.02918, sections 3.2 and 3.3.
Differs from the paper: a cosine in place of steps of the learning rate; images are standardised by
the network's first layer, so that sigma is in pixel units from 0 to 1 as there.
Results: benchmarks/adversarial/results.md
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch

from mlexpert.blocks.decisions.argmax import Argmax
from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.data.examples import Kind
from mlexpert.data.schema import Schema
from mlexpert.families.classification import ClassificationRecipe
from mlexpert.recipe import Parts
from mlexpert.training.method import Batch
from mlexpert.training.methods.supervised import Supervised


@dataclass(frozen=True, kw_only=True)
class Smoothing(ClassificationRecipe):
    """Cross-entropy on images with Gaussian noise."""

    name: ClassVar[str] = "adversarial-cls/smoothing"
    version: ClassVar[int] = 1
    kinds: ClassVar[tuple[Kind, ...]] = ("image",)

    sigma: float = 0.25
    """Standard deviation of the noise, in the unit of the pixel range, which is 0 to 1; sigma in
    the paper. No radius above about 4 sigma can be certified."""
    keep: Literal["best", "last"] = "last"
    """Which weights are kept: the last, or those of the epoch with the best score on validation
    rows, which have no noise."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        pixels = "above 0, in the unit of the pixel range, which is 0 to 1"
        self.require(0 < self.sigma < math.inf, "sigma", pixels)

    def build(self, schema: Schema) -> Parts:
        """Assemble network, noise and cross-entropy."""
        method = Supervised(cross_entropy, augment=Noisy(self.augmentation(), self.sigma))
        decide = Argmax(schema.class_counts)
        return self.parts(schema, self.network(schema), method, decide=decide)


@dataclass(frozen=True)
class Noisy:
    """Adds Gaussian noise to a batch, by torch's default generator; nothing is clipped.

    Attributes:
        augment: What is done to the batch before.
        sigma: Standard deviation of the noise, in the inputs' unit.
    """

    augment: Callable[[Batch], Batch]
    sigma: float

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with other noise in every image and at every time."""
        batch = self.augment(batch)
        return replace(batch, inputs=batch.inputs + self.sigma * torch.randn_like(batch.inputs))


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(Smoothing)
