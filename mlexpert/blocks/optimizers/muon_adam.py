"""Muon for the matrices inside a network, and AdamW for embeddings, head and all else, in one step.

Matrices of one shape are made orthogonal together, in half precision where that is fast, and in few
steps: on small networks that costs as much as the backward pass otherwise.

Papers: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; Amsel et al.
2025, arXiv:2505.16932 (a polynomial of its own for each step); Loshchilov & Hutter 2019,
arXiv:1711.05101 (AdamW).
Differs from the first: an update is scaled by sqrt(max(1, rows / columns)), as in the authors'
later code, and Nesterov's momentum is a running mean. Differs from the second: matrices are scaled
by a closer bound of their norm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from mlexpert.environment import processor_has_bf16

POLYNOMIALS = (
    (8.0934, -23.6205, 17.4462),
    (3.6366, -2.7219, 0.5365),
    (2.6613, -1.9772, 0.4526),
)
"""Of X <- aX + b(XX^T)X + c(XX^T)^2 X, step by step. Each is the one that brings the singular
values nearest to one in the worst case (a linear program over a, b, c), given what the one before
leaves of an interval from 0.01 to 1: at last they lie within 0.73 and 1.27."""


class MuonAdam(Optimizer):
    """Moves groups that say `orthogonal=True` by Muon, and the others by AdamW.

    Args:
        groups: Parameter groups, each with `params`, `orthogonal` and what differs from the
            defaults.
        lr: Step size; of an orthogonal group the size of the update's singular values.
        momentum: Of orthogonal groups.
        betas: Of the others.
        eps: Of the others.
        weight_decay: Decoupled: the weight shrinks by lr * weight_decay.

    Raises:
        ValueError: If a parameter of an orthogonal group is no matrix.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float = 0.02,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.8, 0.95),
        eps: float = 1e-10,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "orthogonal": False,
        }
        super().__init__(groups, defaults)
        for group in self.param_groups:
            for parameter in group["params"]:
                if group["orthogonal"] and parameter.ndim != 2:
                    raise ValueError(
                        f"a parameter of shape {tuple(parameter.shape)} is no matrix for Muon"
                    )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moving = [one for one in group["params"] if one.grad is not None]
            if moving:
                (self._by_muon if group["orthogonal"] else self._by_adam)(moving, group)
        return loss

    def _by_muon(self, moving: list[Tensor], group: dict[str, Any]) -> None:
        momentum, lr = group["momentum"], group["lr"]
        alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for parameter in moving:
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            alike[parameter.shape].append(parameter)
        for shape, parameters in alike.items():
            grads = [one.grad for one in parameters if one.grad is not None]
            buffers = [self.state[one]["momentum_buffer"] for one in parameters]
            torch._foreach_lerp_(buffers, grads, 1 - momentum)
            ahead = torch._foreach_lerp(grads, buffers, momentum)  # Nesterov's
            updates = orthogonalized(torch.stack(list(ahead)))
            if group["weight_decay"]:
                torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
            size = -lr * max(1.0, shape[0] / shape[1]) ** 0.5
            torch._foreach_add_(parameters, list(updates.to(parameters[0].dtype)), alpha=size)

    def _by_adam(self, moving: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in moving:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        states = [self.state[parameter] for parameter in moving]
        adamw(
            moving,
            [one.grad for one in moving if one.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,  # which alone does not read the step back
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def arithmetic(device: torch.device) -> torch.dtype:
    """Return bfloat16, or float32 on a CPU that has no instructions for it.

    Products of bfloat16 take 17 times as long as those of float32 there.
    """
    has_half = device.type != "cpu" or processor_has_bf16()
    return torch.bfloat16 if has_half else torch.float32


def orthogonalized(matrices: Tensor) -> Tensor:
    """Return about U V^T of each matrix U S V^T, in the `arithmetic` of the device.

    Args:
        matrices: (N, R, C).
    """
    x = matrices.to(arithmetic(matrices.device))
    is_tall = x.shape[1] > x.shape[2]

    def gram_of(x: Tensor) -> Tensor:
        return x.mT @ x if is_tall else x @ x.mT

    gram = gram_of(x)
    # ||X||_2^2 <= ||X X^T||_F; one per cent more for what half precision adds.
    square = 1.02 * gram.float().norm(dim=(1, 2), keepdim=True) + 1e-14
    x, gram = x * square.rsqrt().to(x.dtype), gram / square.to(x.dtype)
    for step, (a, b, c) in enumerate(POLYNOMIALS):
        gram = gram_of(x) if step else gram
        inner = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, *((x, inner) if is_tall else (inner, x)), beta=a)
    return x
