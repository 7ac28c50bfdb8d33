"""The feed-forward layer of a transformer, with GELU or squared ReLU.

Papers: Vaswani et al. 2017, arXiv:1706.03762, equation 2; Hendrycks & Gimpel 2016, arXiv:1606.08415
(GELU); So et al. 2021, arXiv:2109.08668 (squared ReLU: as good, and cheaper to compute).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FeedForward(nn.Module):
    """Returns project_out(activation(project_in(x))), each token by itself.

    Args:
        dim: Features of a token, in and out.
        hidden: Hidden features; None takes 4 times `dim`.
        activation: `gelu` or `relu2`, the square of ReLU.
        dropout: Share of the hidden features dropped in training.
        bias: Whether the projections have biases.

    Raises:
        ValueError: If the activation is another.
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden: int | None = None,
        activation: Literal["gelu", "relu2"] = "gelu",
        dropout: float = 0.0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if activation not in ("gelu", "relu2"):
            raise ValueError(f"activation is gelu or relu2, got {activation!r}")
        hidden = 4 * dim if hidden is None else hidden
        self.activation = activation
        self.project_in = nn.Linear(dim, hidden, bias=bias)
        self.project_out = nn.Linear(hidden, dim, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., D) for (..., D)."""
        hidden = self.project_in(x)
        hidden = F.gelu(hidden) if self.activation == "gelu" else squared_relu(hidden)
        return self.project_out(self.dropout(hidden))


def squared_relu(x: Tensor) -> Tensor:
    """Return max(x, 0)^2.

    Composed of torch's operations it takes twice as long to differentiate on a CPU.
    """
    is_fused = x.device.type != "cpu" or torch.compiler.is_compiling()
    if is_fused or not torch.is_grad_enabled():
        return F.relu(x).square()
    return _SquaredRelu.apply(x)


class _SquaredRelu(torch.autograd.Function):
    """y = h^2 with h = max(x, 0); dL/dx = 2 g h."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        hidden = F.relu(x)
        ctx.save_for_backward(hidden)
        return hidden.square()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (grad,), (hidden,) = grads, ctx.saved_tensors
        return torch.addcmul(grad.new_zeros(()), grad, hidden, value=2)
