"""A tagger: features of words, an encoder of the sentence, and a score for every tag.

Papers: Huang et al. 2015, arXiv:1508.01991 (bidirectional LSTM, with a CRF on top); Vaswani et al.
2017, arXiv:1706.03762 (transformer); Ma and Hovy 2016, arXiv:1603.01354 (characters).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from mlexpert.blocks.layers.feed_forward import FeedForward
from mlexpert.blocks.layers.word_features import WordFeatures
from mlexpert.blocks.mixers.attention import Attention
from mlexpert.blocks.mixers.pre_norm_block import PreNormBlock
from mlexpert.blocks.mixers.recurrent import Recurrent
from mlexpert.blocks.structured.crf import Crf


class Tagger(nn.Module):
    """Scores the tags of words.

    Args:
        features: Maps words (B, T, W) to features.
        width: Numbers W of a word; the inputs have those of one word behind those of another.
        num_tags: Tags, K.
        encoder: What reads the sentence: "bilstm" or "transformer".
        dim: Features of a word in its sentence; of both directions together.
        num_layers: Layers of the encoder.
        dropout: Share of features dropped in training, before and behind every layer.
        crf: Whether a linear chain scores how tags follow one another.

    Attributes:
        crf: The chain, or None.
    """

    def __init__(
        self,
        features: WordFeatures,
        *,
        width: int,
        num_tags: int,
        encoder: Literal["bilstm", "transformer"] = "bilstm",
        dim: int = 256,
        num_layers: int = 1,
        dropout: float = 0.3,
        crf: bool = False,
    ) -> None:
        super().__init__()
        self.width, self.features = width, features
        self.project = nn.Linear(features.dim, dim)
        layers = [_layer(encoder, dim, dropout) for _ in range(num_layers)]
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(dim) if encoder == "transformer" else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(dim, num_tags)
        self.crf = Crf(num_tags) if crf else None

    def words(self, inputs: Tensor) -> Tensor:
        """Return the words (B, T, W) of inputs (B, T * W)."""
        return inputs.unflatten(1, (-1, self.width))

    def mask(self, inputs: Tensor) -> Tensor:
        """Return (B, T) bool, True at words."""
        return self.words(inputs)[..., 0].ne(0)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return scores (B, T, K) of inputs (B, T * W), padded with 0."""
        mask = self.mask(inputs)
        x = self.project(self.dropout(self.features(self.words(inputs))))
        for layer in self.layers:
            x = layer(self.dropout(x), mask=mask)[0]
        return self.head(self.dropout(self.norm(x)))


def _layer(encoder: str, dim: int, dropout: float) -> nn.Module:
    if encoder == "bilstm":
        return Recurrent(dim, cell="lstm", bidirectional=True)
    mixer = Attention(dim, num_heads=max(1, dim // 64), causal=False)
    return PreNormBlock(mixer, FeedForward(dim), dim=dim, dropout=dropout)
