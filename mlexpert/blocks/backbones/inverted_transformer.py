"""iTransformer: every series is a token, and attention is between series.

Paper: Liu et al. 2024, arXiv:2310.06625, section 3.
Differs from the paper: layer norm before every sublayer, where the paper has it after.
"""

from __future__ import annotations

from torch import Tensor, nn

from mlexpert.blocks.layers.reversible_instance_norm import ReversibleInstanceNorm
from mlexpert.blocks.mixers.encoder_blocks import encoder_blocks


class InvertedTransformer(nn.Module):
    """Maps the last L values of K series to the next H; what a series says depends on the others.

    Args:
        context: Values that are seen, L.
        horizon: Values that are forecast, H.
        num_outputs: Numbers for each step, Q: quantiles, say.
        dim: Features of a token; D in the paper.
        num_heads: Attention heads; they divide `dim`.
        num_layers: Transformer layers.
        hidden: Width of the feed-forward layers.
        dropout: Share of features dropped in training.
    """

    def __init__(
        self,
        context: int,
        horizon: int,
        num_outputs: int = 1,
        *,
        dim: int = 256,
        num_heads: int = 8,
        num_layers: int = 2,
        hidden: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.horizon, self.num_outputs = horizon, num_outputs
        self.norm = ReversibleInstanceNorm()
        self.embedding = nn.Linear(context, dim)
        self.dropout = nn.Dropout(dropout)
        self.blocks = encoder_blocks(
            num_layers, dim, num_heads=num_heads, hidden=hidden, dropout=dropout
        )
        self.last_norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, horizon * num_outputs)

    def forward(self, series: Tensor) -> Tensor:
        """Return the forecasts (B, K, H, Q) of series (B, K, L)."""
        normed, levels = self.norm.normalise(series.transpose(1, 2))  # (B, L, K)
        tokens = self.dropout(self.embedding(normed.transpose(1, 2)))  # (B, K, D)
        for block in self.blocks:
            tokens, _ = block(tokens)
        steps = self.head(self.last_norm(tokens)).transpose(1, 2)  # (B, H Q, K)
        steps = self.norm.denormalise(steps, levels).transpose(1, 2)
        return steps.unflatten(-1, (self.horizon, self.num_outputs))
