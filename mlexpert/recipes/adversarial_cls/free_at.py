"""Free adversarial training: one gradient moves the weights and the attack.

Each batch comes several times in a row. The backward pass that moves the weights also gives the
gradient of the inputs, by which the attack goes on in the next pass; it costs no more than training
without an attacker.

Paper: Shafahi et al. 2019, arXiv:1904.12843, algorithm 1.
Differs from the paper: weights are those of the epoch with the best robust accuracy on validation;
learning rate and epsilon rise at first.
Results: benchmarks/adversarial/results.md
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.data.schema import Schema
from mlexpert.errors import RunError
from mlexpert.families.adversarial import AdversarialRecipe
from mlexpert.recipe import Parts
from mlexpert.training.method import Batch, Loss, summed
from mlexpert.training.methods.adversarial import AdversarialMethod, Attacking


@dataclass(frozen=True, kw_only=True)
class FreeAt(AdversarialRecipe):
    """Batches that are replayed, with an attack that goes on from pass to pass."""

    name: ClassVar[str] = "adversarial-cls/free-at"
    version: ClassVar[int] = 1

    replays: int = 8
    """Passes over a batch before the next one comes; m in the paper. An epoch has as many steps as
    ever, and sees one m-th of the rows."""
    steps: int = 1
    """Steps of the attack in a pass: one, which is free."""
    step_size: float | None = None
    """Length of the step as a share of epsilon. None: 1, as in the paper."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(self.replays >= 1, "replays", "at least 1")
        self.require(self.steps == 1, "steps", "1; take adversarial-cls/pgd-at for more")

    def build(self, schema: Schema) -> Parts:
        """Assemble network, attack and the order in which batches come again."""
        assert self.batch_size is not None, "fit settles a recipe first"
        method = FreeTraining(self.attacking(schema))
        parts = self.parts(schema, self.network(schema), method)
        order = partial(repeated, batch_size=self.batch_size, replays=self.replays)
        return replace(parts, order=order)


def repeated(
    targets: Tensor,
    progress: float,
    generator: torch.Generator,
    *,
    batch_size: int,
    replays: int,
) -> Tensor:
    """Return the rows (N,) of an epoch in which every batch comes `replays` times in a row.

    Args:
        targets: (N,) of the training rows.
        progress: Fraction of training done; it does not matter.
        generator: What the order is drawn from.
        batch_size: Rows of a batch.
        replays: Passes over a batch.
    """
    count = len(targets)
    rows = torch.randperm(count, generator=generator)
    passes = [batch for batch in rows.split(batch_size) for _ in range(replays)]
    return torch.cat(passes)[:count]


class FreeTraining(AdversarialMethod):
    """Keeps the attack from pass to pass, and moves it by the gradient that moved the weights.

    Args:
        how: How it attacks.
    """

    change: Tensor | None

    def __init__(self, how: Attacking) -> None:
        super().__init__(how)
        self.register_buffer("change", None)
        self._leaves: list[Tensor] = []
        self._clean: Tensor | None = None

    def draw(self, model: nn.Module, batch: Batch) -> Batch:
        """Return the batch with the attack so far added to its inputs."""
        batch = super().draw(model, batch)
        inputs = batch.inputs
        if self.change is None or self.change.shape[1:] != inputs.shape[1:]:
            self.change = torch.zeros_like(inputs)
        if len(self.change) < len(inputs):
            more = torch.zeros_like(inputs[len(self.change) :])
            self.change = torch.cat([self.change, more])
        self._clean = inputs
        moved = self.threat().to(inputs).project(inputs + self.change[: len(inputs)], inputs)
        return replace(batch, inputs=moved)

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the sum of the rows' losses, which leaves a gradient at the inputs."""
        leaf = batch.inputs.detach().requires_grad_()
        self._leaves.append(leaf)
        return summed(cross_entropy(model(leaf), batch.targets), batch)

    @torch.no_grad()
    def after_step(self, model: nn.Module, batch: Batch) -> None:
        """Move the attack one step up the loss, by the gradient that is there already."""
        assert self._clean is not None and self.change is not None, "`draw` came before"
        leaves: list[Tensor] = []
        while self._leaves and sum(map(len, leaves)) < len(batch):  # the last pass counts
            leaves.insert(0, self._leaves.pop())
        self._leaves.clear()
        if sum(map(len, leaves)) != len(batch):
            raise RunError(
                "adversarial-cls/free-at needs the gradient of every row of a batch, and runs in "
                "one process alone; take adversarial-cls/fast-at with several."
            )
        gradient = torch.cat([leaf.grad for leaf in leaves if leaf.grad is not None])
        threat = self.threat().to(gradient)
        step = threat.ascend(gradient, self.how.step_size * threat.length)
        moved = threat.project(batch.inputs + step, self._clean)
        self.change[: len(batch)] = moved - self._clean


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(FreeAt)
