"""Balanced bagging: each member of the ensemble learns from a bag in which classes are as frequent.

A bag has all rows of the rarest class and as many of every other, so no row is repeated and none is
made up, and together the members still see many of the frequent rows. They share one network, and a
pass over the batch trains all of them, each on its own rows.

Paper: Liu et al. 2009, doi:10.1109/TSMCB.2008.2007853 (EasyEnsemble); Chen, Liaw and Breiman 2004,
    "Using random forest to learn imbalanced data" (bootstrap).
Differs from the papers: the members are those of a neural ensemble that share nearly all of their
weights, in the place of boosted trees; their mean probability is put back to the natural prior.
Results: benchmarks/imbalanced_cls/results.md
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.samplers.balanced_bags import bagged_order, balanced_bags
from mlexpert.blocks.samplers.class_balanced import balanced_log_weight
from mlexpert.data.examples import Kind
from mlexpert.data.schema import Schema
from mlexpert.families.classification import ClassificationRecipe
from mlexpert.networks.tables import table_network
from mlexpert.recipe import Parts
from mlexpert.training.method import Batch, Loss, Method, summed
from mlexpert.training.methods.resampling import require_training_rows
from mlexpert.training.plan import Data


@dataclass(frozen=True, kw_only=True)
class BalancedBagging(ClassificationRecipe):
    """Cross-entropy of each member on a balanced bag of its own."""

    name: ClassVar[str] = "imbalanced-cls/balanced-bagging"
    version: ClassVar[int] = 1
    kinds: ClassVar[tuple[Kind, ...]] = ("tabular",)

    members: int = 16
    """Networks in the ensemble, each with a bag; T in the paper."""
    bootstrap: bool = False
    """Draw the rows of a bag with repetition, those of the rarest class as well."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(self.members >= 1, "members", "at least 1")
        self.require(self.backbone == "auto", "backbone", "'auto': a table has one network")

    def build(self, schema: Schema) -> Parts:
        """Assemble the ensemble with the bags of its members, whose prior is then taken out."""
        network = table_network(schema, members=self.members)
        method = Bagged(schema.num_examples, self.members, bootstrap=self.bootstrap)
        log_weight = balanced_log_weight(schema.class_counts)
        parts = self.parts(schema, network, method, log_weight=log_weight)
        return replace(parts, order=method.order, resample=method.draw_bags)


class Bagged(Method):
    """The mean of the members' losses, each over its own bag.

    Until bags are drawn, every member has all rows.

    Args:
        num_rows: Training rows, N.
        num_members: Members of the ensemble, M.
        bootstrap: Whether rows are drawn with repetition.
    """

    shares: Tensor
    """(N, M) how much each row counts for each member: its count in the bag, scaled so that the
    rows that are visited have 1 in the mean, summed over members."""

    def __init__(self, num_rows: int, num_members: int, *, bootstrap: bool) -> None:
        super().__init__()
        self.register_buffer("shares", torch.full((num_rows, num_members), 1 / num_members))
        self.bootstrap = bootstrap

    def draw_bags(self, data: Data, schema: Schema, seed: int) -> Data:
        """Draw the members' bags; the rows themselves stay as they are.

        Raises:
            InputError: These are not the training rows.
        """
        require_training_rows(data, schema)
        counts = balanced_bags(
            data.targets,
            schema.num_classes,
            self.shares.shape[1],
            torch.Generator().manual_seed(seed),
            bootstrap=self.bootstrap,
        )
        self.shares = counts * (counts.any(dim=1).sum() / counts.sum())
        return data

    def order(self, targets: Tensor, progress: float, generator: torch.Generator) -> Tensor:
        """Return the rows (N,) of an epoch: those that are in some bag, as often as one another."""
        return bagged_order(self.shares.cpu(), generator)

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the members' losses on the rows of their bags, summed.

        What they are divided by does not depend on how many rows of a bag, and so which classes,
        this batch happens to hold: chance must not weigh.
        """
        logits = model(batch.inputs)  # (B, M, K)
        targets = batch.targets.unsqueeze(1).expand(logits.shape[:2])
        losses = F.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")
        return summed((losses * self.shares[batch.index]).sum(dim=1), batch)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(BalancedBagging)
