"""What recipes share that re-weight classes late: when, by how much, and for how long."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Self

from torch import Tensor

from mlexpert.blocks.losses.effective_number import effective_number_weights
from mlexpert.data.schema import Schema
from mlexpert.families.classification import ClassificationRecipe
from mlexpert.recipe import Network, Parts
from mlexpert.training.methods.deferred import Deferred

TABLE_EPOCHS = 40
"""Passes over a table. Its other recipes stop when validation is best, and nobody knows what
fraction of that is which epoch."""


@dataclass(frozen=True, kw_only=True)
class DeferredRecipe(ClassificationRecipe):
    """A recipe whose classes are weighted by their effective numbers after a fraction of training.

    It trains to the end of its plan and keeps the last weights: the best epoch may be one before
    the weights began.
    """

    defer: float = 0.8
    """Fraction of training after which classes are re-weighted."""
    beta: float = 0.9999
    """Of the effective number of rows, from 0 (no weights) to below 1 (inverse frequency)."""
    keep: Literal["best", "last"] = "last"
    """Which weights are kept: those of the epoch with the best validation score, or the last. The
    best may be of an epoch without re-weighting."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(0 <= self.defer < 1, "defer", "a fraction of 0 or more and below 1")
        self.require(0 <= self.beta < 1, "beta", "0 or more and below 1")

    def settle(self, schema: Schema) -> Self:
        """Fill in what depends on the data; without a patience of your own, none."""
        settled = super().settle(schema)
        is_open = self.epochs is None and schema.kind == "tabular"
        epochs = TABLE_EPOCHS if is_open else settled.epochs
        return replace(settled, epochs=epochs, patience=self.patience or 0)

    def reweighted(
        self, schema: Schema, network: Network, loss: Callable[[Tensor, Tensor], Tensor]
    ) -> Parts:
        """Return the parts of a network that is trained by a loss and, later, by class weights.

        Args:
            schema: Of the training rows.
            network: The model and its input encoding.
            loss: Maps what the model returns and targets to losses (B,).
        """
        assert self.epochs is not None, "fit settles a recipe first"
        weight = effective_number_weights(schema.class_counts, beta=self.beta)
        start = math.ceil(self.defer * self.epochs * schema.num_examples)
        method = Deferred(loss, class_weight=weight, start=start, augment=self.augmentation())
        return self.parts(schema, network, method, log_weight=weight.log())
