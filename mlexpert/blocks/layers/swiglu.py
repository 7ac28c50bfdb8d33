"""A feed-forward layer whose hidden features are gated by a second projection.

Paper: Shazeer 2020, arXiv:2002.05202, equation 6.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SwiGLU(nn.Module):
    """Returns project_out(silu(gate) * value), each token by itself.

    Args:
        dim: Features of a token, in and out.
        hidden: Hidden features; None takes 8/3 of `dim` in multiples of 8, which has the parameters
            of an ungated layer of 4 times `dim`.
        dropout: Share of the hidden features dropped in training.
        bias: Whether the projections have biases.
    """

    def __init__(
        self, dim: int, *, hidden: int | None = None, dropout: float = 0.0, bias: bool = False
    ) -> None:
        super().__init__()
        hidden = -(-8 * dim // 24) * 8 if hidden is None else hidden
        self.project_in = nn.Linear(dim, 2 * hidden, bias=bias)
        self.project_out = nn.Linear(hidden, dim, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., D) for (..., D)."""
        gate, value = self.project_in(x).chunk(2, dim=-1)
        return self.project_out(self.dropout(F.silu(gate) * value))
