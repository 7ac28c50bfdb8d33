"""SMOTE: rare classes get new rows, between their own rows and the neighbours of these.

Made inside `fit`, of training rows alone and after the split; validation and test rows stay as they
are, and probabilities are put back to the natural prior. Tables with categories take SMOTE-NC, and
those of categories alone SMOTE-N, which needs `pip install 'mlexpert[smote]'`.

Paper: Chawla et al. 2002, arXiv:1106.1813.
Differs from the paper: numbers are standardised for the search, gaps are filled for it by the
median and kept in the new rows; the frequent class is not thinned out; a new row has the weight of
the nearer of the two rows that it lies between.
Results: benchmarks/imbalanced_cls/results.md
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.blocks.samplers.smote import smote
from mlexpert.data.batches import TensorStore
from mlexpert.data.examples import Kind
from mlexpert.data.schema import Categorical, Schema
from mlexpert.families.classification import ClassificationRecipe
from mlexpert.recipe import Parts
from mlexpert.training.methods.resampling import require_training_rows
from mlexpert.training.methods.supervised import Supervised
from mlexpert.training.plan import Data


@dataclass(frozen=True, kw_only=True)
class Smote(ClassificationRecipe):
    """Cross-entropy on training rows to which SMOTE has added."""

    name: ClassVar[str] = "imbalanced-cls/smote"
    version: ClassVar[int] = 1
    kinds: ClassVar[tuple[Kind, ...]] = ("tabular",)

    k_neighbors: int = 5
    """Neighbours of its class between which and a row a new one is made; k in the paper. Fewer in a
    class of no more rows than that."""
    ratio: float = 1.0
    """Rows that every class has afterwards, as a share of those of the largest; a class that has
    more keeps them."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(self.k_neighbors >= 1, "k_neighbors", "at least 1")
        self.require(0 < self.ratio <= 1, "ratio", "above 0 and at most 1")

    def build(self, schema: Schema) -> Parts:
        """Assemble network, cross-entropy and the resampling, whose prior is then taken out."""
        network = self.network(schema)
        natural = torch.tensor(schema.class_counts, dtype=torch.float64)
        resampled = torch.tensor(self.wanted(schema.class_counts), dtype=torch.float64)
        log_weight = (resampled / resampled.sum()).log() - (natural / natural.sum()).log()
        parts = self.parts(schema, network, Supervised(cross_entropy), log_weight=log_weight)
        return replace(parts, resample=self.resample)

    def wanted(self, class_counts: Sequence[int]) -> list[int]:
        """Return how many rows each of the K classes is to have."""
        at_least = round(self.ratio * max(class_counts))
        return [max(count, at_least) for count in class_counts]

    def resample(self, data: Data, schema: Schema, seed: int) -> Data:
        """Return the training rows, with the new ones behind them.

        Raises:
            InputError: These are not the training rows; or they are categories alone, and
                imbalanced-learn is not installed.
        """
        require_training_rows(data, schema)
        for name, count in zip(schema.class_names, schema.class_counts, strict=True):
            if count == 1:
                warnings.warn(
                    f"class {name!r} has a single training row, and so no neighbours: SMOTE "
                    "repeats it",
                    stacklevel=2,
                )
        store, weights = data.store, data.weights
        assert isinstance(store, TensorStore), "a table is held as rows of numbers and codes"
        new, targets, nearest = smote(
            store.rows,
            data.targets,
            self.wanted(schema.class_counts),
            categorical=[i for i, c in enumerate(schema.columns) if isinstance(c, Categorical)],
            k_neighbors=self.k_neighbors,
            seed=seed,
        )
        return Data(
            TensorStore(torch.cat([store.rows, new])),
            torch.cat([data.targets, targets]),
            None if weights is None else torch.cat([weights, weights[nearest]]),
        )


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(Smote)
