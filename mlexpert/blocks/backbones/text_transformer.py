"""A small text encoder from scratch: a convolution over tokens, then a transformer.

Papers: Vaswani et al. 2017, arXiv:1706.03762 (attention); Xiong et al. 2020, arXiv:2002.04745 (norm
before every sublayer); Kim 2014, arXiv:1408.5882 (convolution and max over time, dropout before the
head).
Differs from the papers: with a few thousand texts a transformer alone learns its training texts by
their rare words and stays below a linear model over word pairs. The convolution sees neighbours
from the first step, and tokens are dropped at random.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EMBEDDING_STD = 0.3
"""Large beside one step of Adam: rare tokens then move little, and are memorised late."""


class TextTransformer(nn.Module):
    """Classifies token ids (B, T), where 0 is padding.

    Args:
        vocab_size: Token ids, padding included.
        num_classes: Outputs K; 0 gives the pooled features themselves.
        max_length: Tokens of the longest text.
        width: Features of a token.
        num_layers: Transformer layers behind the convolution.
        num_heads: Attention heads; they divide `width`.
        hidden: Width of the feed-forward layers, as a multiple of `width`.
        dropout: Share of features dropped in every sublayer and before the head.
        token_dropout: Share of tokens whose embedding is dropped in training.
        pooling: `max` or `mean` over the tokens that are no padding.

    Raises:
        ValueError: If `num_heads` does not divide `width`.

    Example:
        >>> model = TextTransformer(vocab_size=100, num_classes=3, max_length=8)
        >>> model(torch.tensor([[5, 7, 2, 0, 0], [9, 4, 4, 1, 3]])).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        num_classes: int,
        max_length: int,
        width: int = 192,
        num_layers: int = 1,
        num_heads: int = 4,
        hidden: int = 1,
        dropout: float = 0.5,
        token_dropout: float = 0.1,
        pooling: Literal["max", "mean"] = "max",
    ) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide width={width}")
        self.num_features = width
        self.token_dropout, self.pooling = token_dropout, pooling
        self.tokens = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(max_length, width)
        nn.init.normal_(self.tokens.weight, std=EMBEDDING_STD)
        nn.init.normal_(self.positions.weight, std=0.3 * EMBEDDING_STD)
        self.neighbours = nn.Conv1d(width, width, kernel_size=3, padding=1)
        self.layers = nn.ModuleList(
            TransformerLayer(width, num_heads=num_heads, hidden=hidden * width, dropout=dropout)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_classes) if num_classes else nn.Identity()

    def features(self, inputs: Tensor) -> Tensor:
        """Return the pooled features (B, width) of token ids (B, T).

        A text of nothing but padding counts as one unknown token, so that its features stay finite.

        Raises:
            ValueError: If T is above `max_length`.
        """
        if inputs.shape[1] > self.positions.num_embeddings:
            raise ValueError(
                f"texts of {inputs.shape[1]} tokens, but the model was built for "
                f"{self.positions.num_embeddings}"
            )
        inside = inputs.ne(0)  # (B, T)
        inside[:, 0] = True
        keep = inside.unsqueeze(-1)
        hidden = self._embed(inputs) * keep
        hidden = hidden + F.gelu(self.neighbours(hidden.transpose(1, 2))).transpose(1, 2)
        mask = inside[:, None, None, :]  # (B, 1, 1, T): which keys may be looked at
        for layer in self.layers:
            hidden = layer(hidden, mask)
        if self.pooling == "max":
            pooled = hidden.masked_fill(~keep, torch.finfo(hidden.dtype).min).amax(dim=1)
        else:
            pooled = (hidden * keep).sum(dim=1) / keep.sum(dim=1)
        return self.norm(pooled)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (B, K) of token ids (B, T)."""
        return self.head(self.dropout(self.features(inputs)))

    def _embed(self, inputs: Tensor) -> Tensor:
        tokens = self.tokens(inputs)
        if self.training and self.token_dropout:
            drop = torch.rand(inputs.shape, device=inputs.device) < self.token_dropout
            tokens = tokens.masked_fill(drop.unsqueeze(-1), 0.0)
        return self.dropout(tokens + self.positions.weight[: inputs.shape[1]])


class TransformerLayer(nn.Module):
    """Self-attention and a feed-forward layer, each behind a layer norm and added to its input.

    Args:
        width: Features of a token.
        num_heads: Attention heads.
        hidden: Width of the feed-forward layer.
        dropout: Share of attention weights and of each sublayer's features that is dropped in
            training.
    """

    def __init__(self, width: int, *, num_heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout_share = num_heads, dropout
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.hidden_norm = nn.LayerNorm(width)
        self.hidden_in = nn.Linear(width, hidden)
        self.hidden_out = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)
        # A layer starts as the identity, so training starts from the convolution alone.
        for last in (self.attention_out, self.hidden_out):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Return the output (B, T, D); `mask` (B, 1, 1, T) is True where a token may be seen."""
        inputs = inputs + self.dropout(self._attend(self.attention_norm(inputs), mask))
        hidden = self.dropout(F.gelu(self.hidden_in(self.hidden_norm(inputs))))
        return inputs + self.dropout(self.hidden_out(hidden))

    def _attend(self, inputs: Tensor, mask: Tensor) -> Tensor:
        batch, length, width = inputs.shape
        heads = self.query_key_value(inputs).view(
            batch, length, 3, self.num_heads, width // self.num_heads
        )
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (B, heads, T, D / heads)
        share = self.dropout_share if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=share)
        return self.attention_out(mixed.transpose(1, 2).reshape(batch, length, width))
