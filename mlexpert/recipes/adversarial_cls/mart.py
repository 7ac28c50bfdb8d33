"""MART: rows that are misclassified without an attack count more than others.

Paper: Wang et al. 2020, openreview.net/forum?id=rklOg6EFwS, equations 8 to 11.
Differs from the paper: epsilon and learning rate rise at first; weights are those of the epoch with
the best robust accuracy on validation.
Results: benchmarks/adversarial/results.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from mlexpert.blocks.losses.attacked_divergence import log_probabilities_of
from mlexpert.data.schema import Schema
from mlexpert.families.adversarial import AdversarialRecipe
from mlexpert.recipe import Parts
from mlexpert.training.method import Batch, Loss, summed
from mlexpert.training.methods.adversarial import AdversarialMethod, Attacking

SLACK = 1e-4
"""What keeps log(1 - q) finite where the attacker is sure; of the authors' code."""


@dataclass(frozen=True, kw_only=True)
class Mart(AdversarialRecipe):
    """A boosted cross-entropy under attack, and a divergence weighted by doubt."""

    name: ClassVar[str] = "adversarial-cls/mart"
    version: ClassVar[int] = 1

    beta: float = 5.0
    """What the weighted divergence counts; lambda in the paper."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(0 <= self.beta < math.inf, "beta", "0 or more")

    def build(self, schema: Schema) -> Parts:
        """Assemble network, attack and loss."""
        method = MartMethod(self.attacking(schema), beta=self.beta)
        return self.parts(schema, self.network(schema), method)


class MartMethod(AdversarialMethod):
    """BCE(q, y) + beta KL(p || q) (1 - p_y), of clean probabilities p and attacked ones q.

    Args:
        how: How it attacks.
        beta: What the second term counts.
    """

    def __init__(self, how: Attacking, *, beta: float) -> None:
        super().__init__(how)
        self.beta = beta

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Attack a micro-batch, and return the sum of its rows' losses."""
        moved = self.adversarial(model, batch)
        clean = log_probabilities_of(model(batch.inputs))
        under_attack = log_probabilities_of(model(moved))
        return summed(mart_loss(clean, under_attack, batch.targets, self.beta), batch)


def mart_loss(clean: Tensor, under_attack: Tensor, targets: Tensor, beta: float) -> Tensor:
    """Return the losses (B,) of equation 11.

    Args:
        clean: (B, K), or (B, M, K) of M members, log-probabilities of clean inputs.
        under_attack: Those of inputs under attack, in the same shape.
        targets: (B,) class indices.
        beta: What the second term counts.
    """
    index = targets.view(-1, *[1] * (clean.ndim - 1)).expand(*clean.shape[:-1], 1)
    true = under_attack.gather(-1, index).squeeze(-1)
    others = under_attack.scatter(-1, index, -torch.inf).amax(dim=-1)
    boosted = -true - torch.log(1 + SLACK - others.exp())
    divergence = (clean.exp() * (clean - under_attack)).sum(dim=-1)
    doubt = 1 - clean.gather(-1, index).squeeze(-1).exp()
    losses = boosted + beta * divergence * doubt
    return losses if losses.ndim == 1 else losses.mean(dim=1)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(Mart)
