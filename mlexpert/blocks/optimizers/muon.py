"""Muon: momentum whose direction is made orthogonal, for matrices and convolutions.

All singular values of an update become about one, so that rare directions of a gradient move as
much as frequent ones.

Paper: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the quintic
    iteration and its coefficients are from there.
Differs from it: convolutions are taken as matrices (out, in * height * width), as the author's own
CIFAR-10 speed runs do, and there a weight may be kept at a fixed norm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of X <- aX + b(XX^T)X + c(XX^T)^2 X; the steepest at zero, ending within about 0.7 to 1.2."""


class Muon(Optimizer):
    """Muon for the groups that say `orthogonal=True`; SGD with Nesterov momentum for the others.

    One optimiser for both, because biases and heads are not for Muon and a training has one.

    Args:
        groups: Parameter groups, each with `params`, and where it differs from the defaults `lr`,
            `momentum`, `weight_decay`, `orthogonal` and `fixed_norm`.
        lr: Step size. Of an orthogonal group: the size of the update's singular values.
        momentum: Decay of the running sum of gradients.
        weight_decay: L2 weight decay of the groups that are not orthogonal; of those that are,
            decoupled: the weight shrinks by lr * weight_decay.
        orthogonal: Whether to make updates orthogonal.
        fixed_norm: Before each step of an orthogonal group, scale the weight to the Frobenius norm
            sqrt(out). For layers before a normalisation, to which their scale is nothing.
        iterations: Of the orthogonalisation.

    Raises:
        ValueError: If a parameter of an orthogonal group is not at least a matrix.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        orthogonal: bool = True,
        fixed_norm: bool = False,
        iterations: int = 5,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "orthogonal": orthogonal,
            "fixed_norm": fixed_norm,
            "iterations": iterations,
        }
        super().__init__(groups, defaults)
        for group in self.param_groups:
            for parameter in group["params"]:
                if group["orthogonal"] and parameter.ndim < 2:
                    raise ValueError(
                        f"a parameter of shape {tuple(parameter.shape)} cannot be made orthogonal"
                    )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            move = _move_orthogonal if group["orthogonal"] else _move
            for parameter in group["params"]:
                if parameter.grad is not None:
                    state = self.state[parameter]
                    if not state:
                        state["momentum_buffer"] = torch.zeros_like(parameter)
                    move(parameter, parameter.grad, state["momentum_buffer"], group)
        return loss


def orthogonalize(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Return U V^T of a matrix U S V^T, about: singular values end between some 0.7 and 1.2.

    Args:
        matrix: (R, C). Computed in its own type.
        iterations: Newton-Schulz steps; 5 bring values from 0.01 on close to one.

    Returns:
        (R, C).
    """
    a, b, c = COEFFICIENTS
    x = matrix / (matrix.norm() + 1e-7)
    is_tall = matrix.shape[0] > matrix.shape[1]
    if is_tall:
        x = x.T
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if is_tall else x


def _move_orthogonal(
    parameter: Tensor, grad: Tensor, buffer: Tensor, group: dict[str, Any]
) -> None:
    lr, momentum = group["lr"], group["momentum"]
    buffer.mul_(momentum).add_(grad)
    ahead = grad.add(buffer, alpha=momentum)  # Nesterov's
    if group["fixed_norm"]:
        parameter.mul_(len(parameter) ** 0.5 / parameter.norm())
    parameter.mul_(1 - lr * group["weight_decay"])
    update = orthogonalize(ahead.flatten(1), group["iterations"])
    parameter.add_(update.view_as(parameter), alpha=-lr)


def _move(parameter: Tensor, grad: Tensor, buffer: Tensor, group: dict[str, Any]) -> None:
    if group["weight_decay"]:
        grad = grad.add(parameter, alpha=group["weight_decay"])
    buffer.mul_(group["momentum"]).add_(grad)
    parameter.add_(grad.add(buffer, alpha=group["momentum"]), alpha=-group["lr"])
