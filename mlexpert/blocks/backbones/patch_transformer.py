"""PatchTST: each series by itself, cut into patches that a transformer reads as tokens.

Paper: Nie et al. 2023, arXiv:2211.14730, section 3.1.
Differs from the paper: layer norm before every sublayer, where the paper has batch norm after it,
and attention scores are not carried from layer to layer.
"""

from __future__ import annotations

from torch import Tensor, nn

from mlexpert.blocks.layers.patch_embedding import PatchEmbedding
from mlexpert.blocks.layers.reversible_instance_norm import ReversibleInstanceNorm
from mlexpert.blocks.mixers.encoder_blocks import encoder_blocks


class PatchTransformer(nn.Module):
    """Maps the last L values of each series to the next H; series share all weights.

    Args:
        context: Values that are seen, L.
        horizon: Values that are forecast, H.
        num_series: Series, each with a scale of its own in the reversible norm, K.
        num_outputs: Numbers for each step, Q: quantiles, say.
        patch: Values of a patch; P in the paper.
        stride: From one patch to the next; S in the paper.
        dim: Features of a token; D in the paper.
        num_heads: Attention heads; they divide `dim`.
        num_layers: Transformer layers.
        hidden: Width of the feed-forward layers; F in the paper.
        dropout: Share of features dropped in training, also before the last map.
    """

    def __init__(
        self,
        context: int,
        horizon: int,
        num_series: int,
        num_outputs: int = 1,
        *,
        patch: int = 16,
        stride: int = 8,
        dim: int = 16,
        num_heads: int = 4,
        num_layers: int = 3,
        hidden: int = 128,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.horizon, self.num_outputs = horizon, num_outputs
        self.norm = ReversibleInstanceNorm(num_series)
        self.patches = PatchEmbedding(dim, series_length=context, patch=patch, stride=stride)
        self.blocks = encoder_blocks(
            num_layers, dim, num_heads=num_heads, hidden=hidden, dropout=dropout
        )
        self.last_norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)
        self.head = nn.Linear(self.patches.num_patches * dim, horizon * num_outputs)

    def forward(self, series: Tensor) -> Tensor:
        """Return the forecasts (B, K, H, Q) of series (B, K, L)."""
        normed, levels = self.norm.normalise(series.transpose(1, 2))  # (B, L, K)
        tokens = self.dropout(self.patches(normed.transpose(1, 2).flatten(0, 1)))  # (B K, N, D)
        for block in self.blocks:
            tokens, _ = block(tokens)
        steps = self.head(self.dropout(self.last_norm(tokens).flatten(1)))
        steps = steps.unflatten(0, series.shape[:2]).transpose(1, 2)  # (B, H Q, K)
        steps = self.norm.denormalise(steps, levels).transpose(1, 2)
        return steps.unflatten(-1, (self.horizon, self.num_outputs))
