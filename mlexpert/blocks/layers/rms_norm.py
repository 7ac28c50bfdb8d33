"""Root mean square norm: features are scaled to unit mean square, without being centred.

Paper: Zhang & Sennrich 2019, arXiv:1910.07467, equation 4.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-6


class RMSNorm(nn.Module):
    """Norms the last dimension; the weight is optional, as the next projection can learn it.

    Args:
        dim: Features.
        weight: Whether each feature is scaled by a learned number.
    """

    def __init__(self, dim: int, *, weight: bool = True) -> None:
        super().__init__()
        self.dim = dim
        self.weight = nn.Parameter(torch.ones(dim)) if weight else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the normed features (..., D), in the type they came in."""
        normed = rms_norm(x)
        return normed if self.weight is None else normed * self.weight.to(x.dtype)


def rms_norm(x: Tensor) -> Tensor:
    """Return the features (..., D) at unit mean square, in the type they came in.

    On a CPU torch composes this of operations that take twice as long, forward and backward.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.rms_norm(x, (x.shape[-1],), eps=EPSILON).to(x.dtype)
    return _Normed.apply(x) if torch.is_grad_enabled() else x * _scale(x)


def _scale(x: Tensor) -> Tensor:
    """Return what features (..., D) are multiplied by, (..., 1).

    In half precision all features stay in it: an operation that mixes types copies them.
    """
    exact = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact)
    # In one operation: token by token, how many there are is what they cost.
    square = torch.addcmul(norm.new_full((), EPSILON), norm, norm, value=1 / x.shape[-1])
    return square.rsqrt_().to(x.dtype)


class _Normed(torch.autograd.Function):
    """y = x r with r = (mean x^2 + epsilon)^(-1/2); dL/dx = r (g - y mean(g y))."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        scale = _scale(x)
        normed = x * scale
        ctx.save_for_backward(normed, scale)
        return normed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (grad,), (normed, scale) = grads, ctx.saved_tensors
        along = (grad * normed).mean(dim=-1, keepdim=True)
        return torch.addcmul(grad, normed, along, value=-1).mul_(scale)
