"""PatchTST: each series by itself, cut into patches that a transformer reads as tokens.

Paper: Nie et al. 2023, arXiv:2211.14730, section 3.1; Zerveas et al. 2021, arXiv:2010.02803,
    section 3.1 (batch norm: outliers of a series are no matter of one token).
Differs from the paper: attention scores are not carried from layer to layer.
"""

from __future__ import annotations

from torch import Tensor, nn

from mlexpert.blocks.layers.feed_forward import FeedForward
from mlexpert.blocks.layers.patch_embedding import PatchEmbedding
from mlexpert.blocks.layers.reversible_instance_norm import ReversibleInstanceNorm
from mlexpert.blocks.mixers.attention import Attention


class PatchTransformer(nn.Module):
    """Maps the last L values of each series to the next H; series share all weights.

    Args:
        context: Values that are seen, L.
        horizon: Values that are forecast, H.
        num_outputs: Numbers for each step, Q: quantiles, say.
        patch: Values of a patch; P in the paper.
        stride: From one patch to the next; S in the paper.
        dim: Features of a token; D in the paper.
        num_heads: Attention heads; they divide `dim`.
        num_layers: Transformer layers.
        hidden: Width of the feed-forward layers; F in the paper.
        dropout: Share of features dropped in training.
    """

    def __init__(
        self,
        context: int,
        horizon: int,
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
        self.norm = ReversibleInstanceNorm()
        self.patches = PatchEmbedding(dim, series_length=context, patch=patch, stride=stride)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(
            *(
                PatchLayer(dim, num_heads=num_heads, hidden=hidden, dropout=dropout)
                for _ in range(num_layers)
            )
        )
        self.head = nn.Linear(self.patches.num_patches * dim, horizon * num_outputs)

    def forward(self, series: Tensor) -> Tensor:
        """Return the forecasts (B, K, H, Q) of series (B, K, L)."""
        normed, levels = self.norm.normalise(series.transpose(1, 2))  # (B, L, K)
        tokens = self.dropout(self.patches(normed.transpose(1, 2).flatten(0, 1)))  # (B K, N, D)
        steps = self.head(self.layers(tokens).flatten(1))
        steps = steps.unflatten(0, series.shape[:2]).transpose(1, 2)  # (B, H Q, K)
        steps = self.norm.denormalise(steps, levels).transpose(1, 2)
        return steps.unflatten(-1, (self.horizon, self.num_outputs))


class PatchLayer(nn.Module):
    """Attention over the patches of a series and a feed-forward layer, batch norm after each.

    Args:
        dim: Features of a token.
        num_heads: Attention heads; they divide `dim`.
        hidden: Width of the feed-forward layer.
        dropout: Share of a sublayer's features dropped in training.
    """

    def __init__(self, dim: int, *, num_heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(dim, num_heads=num_heads, causal=False, rotary=False, bias=True)
        self.feed_forward = FeedForward(dim, hidden=hidden)
        self.norms = nn.ModuleList([nn.BatchNorm1d(dim), nn.BatchNorm1d(dim)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the tokens (B, N, D), normed over all of the batch."""
        mixed, _ = self.attention(tokens)
        tokens = self._normed(tokens + self.dropout(mixed), 0)
        return self._normed(tokens + self.dropout(self.feed_forward(tokens)), 1)

    def _normed(self, tokens: Tensor, number: int) -> Tensor:
        return self.norms[number](tokens.flatten(0, 1)).view_as(tokens)
