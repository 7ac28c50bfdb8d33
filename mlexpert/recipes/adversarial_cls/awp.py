"""Adversarial weight perturbation on TRADES: the weights are attacked as well as the inputs.

Each step first moves the weights of every layer a little way up the loss, takes the gradient there,
puts them back and goes down. It flattens the loss around the weights, which is what robust
overfitting lacks.

Paper: Wu et al. 2020, arXiv:2004.05884, equations 7 to 10, on TRADES.
Differs from the paper: the weights' move is that of a micro-batch where memory cuts a batch; the
weights are those of the epoch with the best robust accuracy on validation.
Results: benchmarks/adversarial/results.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from mlexpert.data.schema import Schema
from mlexpert.families.trades import TradesRecipe
from mlexpert.recipe import Parts
from mlexpert.training.method import Batch, Loss
from mlexpert.training.methods.adversarial import Attacking
from mlexpert.training.methods.trades import Trades

SMALLEST = 1e-20


@dataclass(frozen=True, kw_only=True)
class Awp(TradesRecipe):
    """TRADES with weights that are perturbed in every step."""

    name: ClassVar[str] = "adversarial-cls/awp"
    version: ClassVar[int] = 1

    gamma: float = 0.005
    """Length of the weights' move as a share of each weight tensor's norm; gamma in the paper."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(0 <= self.gamma < 1, "gamma", "a share of 0 or more and below 1")

    def build(self, schema: Schema) -> Parts:
        """Assemble network, attacks and loss."""
        assert self.beta is not None, "fit settles a recipe first"
        method = AwpMethod(self.attacking(schema), beta=self.beta, gamma=self.gamma)
        return self.parts(schema, self.network(schema), method)


class AwpMethod(Trades):
    """Perturbs the weights in `loss`, and puts them back once there are gradients.

    Args:
        how: How it attacks inputs.
        beta: What the divergence counts.
        gamma: Length of the weights' move as a share of their norm.
    """

    def __init__(self, how: Attacking, *, beta: float, gamma: float) -> None:
        super().__init__(how, beta=beta)
        self.gamma = gamma
        self._before: list[tuple[nn.Parameter, Tensor]] = []

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Attack inputs and then weights, and return the loss at the moved weights."""
        self.restore()  # from the micro-batch before, or a step that ran out of memory
        moved = self.attacked(model, batch)
        # The very first step perturbs as well: what memory it needs, later ones need too.
        if self.done <= 1 or self.done > self.how.warmup:
            self.perturb(model, batch, moved)
        return self.trades(model, batch, moved)

    def perturb(self, model: nn.Module, batch: Batch, moved: Tensor) -> None:
        """Move weights of two and more dimensions up the loss, by gamma of their norm."""
        weights = [one for one in model.parameters() if one.requires_grad and one.ndim > 1]
        buffers = [(one, one.clone()) for one in model.buffers()]
        loss = self.trades(model, batch, moved)
        gradients = torch.autograd.grad(loss.total, weights, allow_unused=True)
        with torch.no_grad():
            for buffer, before in buffers:  # statistics see a batch once
                buffer.copy_(before)
            for weight, gradient in zip(weights, gradients, strict=True):
                if gradient is None:
                    continue
                self._before.append((weight, weight.clone()))
                length = self.gamma * weight.norm() / gradient.norm().clamp_min(SMALLEST)
                weight.add_(gradient * length)

    def after_backward(self, model: nn.Module) -> None:
        """Put the weights back, bit for bit, before the optimiser moves them."""
        self.restore()

    @torch.no_grad()
    def restore(self) -> None:
        """Put weights that were moved back to what they were."""
        for weight, before in self._before:
            weight.copy_(before)
        self._before.clear()


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(Awp)
