"""A parabola around the weights of each earlier task, all of them in the memory of one.

The sum over tasks t of F_t (theta - theta_t)^2 is A theta^2 - 2 B theta + C, with A = sum F_t,
B = sum F_t theta_t and C = sum F_t theta_t^2: another task adds to these and costs nothing later.

It is kept as A (theta - B/A)^2 and what is left of C. Both terms are then 0 or more, where the
difference of A theta^2 and 2 B theta, two large numbers, would have lost its digits.

Papers: Kirkpatrick et al. 2017, arXiv:1612.00796, equation 3 (a parabola for each task); Schwarz et
al. 2018, arXiv:1805.06370, section 4 (one for all, around the newest weights).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mlexpert.blocks.importance.per_parameter import PerParameter


class QuadraticPenalty(nn.Module):
    """Returns 1/2 sum_i (A_i (theta_i - m_i)^2) + C/2 for the weights theta of a model.

    Args:
        model: Whose weights are held. Nothing is, before the first `add` or `move`.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> penalty = QuadraticPenalty(model)
        >>> for theta in (1.0, 3.0):
        ...     _ = model.weight.data.fill_(theta)
        ...     penalty.add(model, {"weight": torch.ones(1, 1)})
        >>> penalty(model).item()  # ((3 - 1)^2 + (3 - 3)^2) / 2
        2.0
    """

    constant: Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.weight, self.centre = PerParameter(model), PerParameter(model)
        self.register_buffer("constant", torch.zeros(()))

    @torch.no_grad()
    def add(self, model: nn.Module, importance: dict[str, Tensor]) -> None:
        """Add a parabola around the present weights to those that there are.

        Args:
            model: At the end of a task.
            importance: F_t, 0 or more, by the name of the parameter.
        """
        parameters = dict(model.named_parameters())
        for name, added in importance.items():
            weight, centre = self.weight[name], self.centre[name]
            total = weight + added
            share = torch.where(total > 0, added / total, 0.0)
            away = parameters[name] - centre
            self.constant += (weight * share * away.square()).sum()
            centre += share * away
            weight.copy_(total)

    @torch.no_grad()
    def move(self, model: nn.Module, importance: dict[str, Tensor], *, decay: float = 1.0) -> None:
        """Put one parabola around the present weights in the place of what there is.

        Args:
            model: At the end of a task.
            importance: Of the task, by the name of the parameter. Where the sum falls below 0 it
                is 0: the weight would be driven away, without end.
            decay: Of the earlier importance; gamma in Schwarz et al.
        """
        parameters = dict(model.named_parameters())
        for name, added in importance.items():
            self.weight[name].mul_(decay).add_(added).clamp_min_(0.0)
            self.centre[name].copy_(parameters[name])

    def forward(self, model: nn.Module) -> Tensor:
        """Return the scalar penalty, of which `add_gradient` adds the gradient."""
        terms = [
            (self.weight[name] * (parameter - self.centre[name]).square()).sum()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        ]
        return (torch.stack(terms).sum() + self.constant) / 2

    @torch.no_grad()
    def add_gradient(
        self, model: nn.Module, *, strength: float, steepest: float = math.inf
    ) -> None:
        """Add the gradient of `strength` times the penalty to that of the loss.

        It has a closed form, strength A (theta - m). It is added once a step, to gradients that are
        complete: in float32 whatever the loss is computed in, and never scaled.

        Args:
            model: Its parameters that have a gradient get the penalty's too.
            strength: Factor on the penalty; lambda of EWC.
            steepest: Largest strength A of a weight. Gradient descent overshoots, further each
                time, where it is above about 2 / lr.
        """
        held = [(n, p, p.grad) for n, p in model.named_parameters() if p.grad is not None]
        weights = torch._foreach_mul([self.weight[name] for name, _, _ in held], strength)
        torch._foreach_clamp_max_(weights, steepest)
        away = torch._foreach_sub(
            [parameter for _, parameter, _ in held], [self.centre[name] for name, _, _ in held]
        )
        torch._foreach_addcmul_([grad for _, _, grad in held], weights, away)
