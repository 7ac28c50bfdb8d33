"""Synaptic intelligence: what each weight's own moves took off the loss, over a whole task.

Paper: Zenke et al. 2017, arXiv:1703.04200, equations 3 and 5.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlexpert.blocks.importance.per_parameter import PerParameter


class PathIntegral(nn.Module):
    """Sums -g dtheta over the steps of a task, g the gradient of the task's loss alone.

    Call `begin` at a task's start, `before_step` with the gradients in place and `after_step` once
    the weights have moved.

    Args:
        model: Whose weights are followed.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.path = PerParameter(model)
        """The sum so far; omega in the paper."""
        self.start = PerParameter(model)
        """The weights at the task's start."""
        # Between the two halves of one step, so that no checkpoint has to know of them.
        self.grads, self.before = (PerParameter(model, persistent=False) for _ in range(2))
        self._moving: list[str] = []

    @torch.no_grad()
    def begin(self, model: nn.Module) -> None:
        """Start from here."""
        for name, parameter in _trained(model):
            self.path[name].zero_()
            self.start[name].copy_(parameter)

    @torch.no_grad()
    def before_step(self, model: nn.Module) -> None:
        """Take note of the weights and of their gradients, which are those of the task's loss."""
        moving = [(name, p, p.grad) for name, p in _trained(model) if p.grad is not None]
        self._moving = [name for name, _, _ in moving]
        torch._foreach_copy_(self._of(self.grads), [grad for _, _, grad in moving])
        torch._foreach_copy_(self._of(self.before), [parameter for _, parameter, _ in moving])

    @torch.no_grad()
    def after_step(self, model: nn.Module) -> None:
        """Add what the step took off the loss, to first order; nothing where there was none."""
        if not self._moving:
            return
        now = dict(_trained(model))
        moves = torch._foreach_sub([now[name] for name in self._moving], self._of(self.before))
        torch._foreach_addcmul_(self._of(self.path), self._of(self.grads), moves, value=-1.0)
        self._moving = []

    @torch.no_grad()
    def importance(self, model: nn.Module, *, epsilon: float) -> dict[str, Tensor]:
        """Return omega / ((theta - theta_start)^2 + epsilon) for each weight theta, by name.

        Below 0 where a weight's moves raised the loss, on the whole.

        Args:
            model: At the task's end.
            epsilon: Bounds it where a weight hardly moved; xi in the paper.
        """
        return {
            name: self.path[name] / ((parameter - self.start[name]).square() + epsilon)
            for name, parameter in _trained(model)
        }

    def _of(self, tensors: PerParameter) -> list[Tensor]:
        return [tensors[name] for name in self._moving]


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]
