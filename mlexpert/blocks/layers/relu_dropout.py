"""ReLU and dropout in one, for features that the members of an ensemble share.

A feature is dropped for all members at once: a random number costs a CPU about as much as the
product that it is for. What comes out is all that backward needs: it is above 0 exactly where the
gradient passes, so one pass over the features replaces two, and neither sign nor mask is kept.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def relu_dropout(features: Tensor, share: float) -> Tensor:
    """Return the features (B, M, F) after ReLU, with some of each row dropped for all M members.

    Args:
        features: (B, M, F).
        share: Of the features that are dropped, at random; the others are divided by 1 - `share`.
    """
    if share == 0.0:
        return F.relu(features)
    kept = F.dropout(torch.ones_like(features[:, :1]), share)  # (B, 1, F)
    return _ReluTimes.apply(features, kept, 1.0 / (1.0 - share))


class _ReluTimes(torch.autograd.Function):
    """ReLU, times a mask of zeros and one other number, `factor`."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, kept: Tensor, factor: float) -> Tensor:
        outputs = F.relu(features).mul_(kept)
        ctx.save_for_backward(outputs)
        ctx.factor = factor
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (outputs,) = ctx.saved_tensors
        # The derivative of an ELU with alpha = 0: `factor` above 0, and 0 elsewhere.
        passed = torch.ops.aten.elu_backward(gradient, 0.0, ctx.factor, 1.0, True, outputs)
        return passed, None, None
