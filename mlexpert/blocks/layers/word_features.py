"""What a word is to a tagger: an embedding of itself, and convolutions over its characters.

Papers: Ma and Hovy 2016, arXiv:1603.01354, section 2.1 (convolution over characters); Kiperwasser
and Goldberg 2016, arXiv:1603.04351 (words dropped to unknown).
Differs from the papers: beginnings and endings have embeddings of their own, looked up by a hash of
their characters (Weinberger et al. 2009, arXiv:0902.2206): a convolution has to learn them first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PAD, UNKNOWN = 0, 1
BUCKETS = 8192
"""Rows of a hashed table; two endings that share one are rare."""
SHAPE_DIM = 16
"""Features of a word's shape."""


class WordFeatures(nn.Module):
    """Maps words (B, T, 1 + L), an id and L characters each, to features (B, T, D).

    Args:
        num_words: Word ids, padding (0) and unknown (1) included.
        num_characters: Character ids, padding, unknown and the two marks of a word's ends included.
        word_dim: Features of a word's embedding.
        character_dim: Features of a character's embedding.
        num_filters: Features of the convolution over characters.
        affix_dim: Features of each beginning and each ending; 0 has none.
        affixes: Lengths of beginnings and endings, the mark of the word's end not counted.
        kinds: (num_characters,) int64, the kind of each character, 0 for padding: lower case, upper
            case, digit and so on. A word's shape is the order of its kinds ("Xx", "x0"), and has an
            embedding as affixes have. None leaves shapes out.
        word_dropout: Share of words that are unknown in training.
        affix_dropout: Share of words whose beginnings and endings are left out in training: words
            that were not met are told by their other features then.

    Attributes:
        dim: Features D of a word.

    Example:
        >>> WordFeatures(100, 50)(torch.ones(2, 5, 27, dtype=torch.long)).shape
        torch.Size([2, 5, 228])
    """

    kinds: Tensor

    def __init__(
        self,
        num_words: int,
        num_characters: int,
        *,
        word_dim: int = 100,
        character_dim: int = 32,
        num_filters: int = 64,
        affix_dim: int = 16,
        affixes: tuple[int, ...] = (2, 3),
        kinds: Tensor | None = None,
        word_dropout: float = 0.0,
        affix_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(num_words, word_dim, padding_idx=PAD)
        self.characters = nn.Embedding(num_characters, character_dim, padding_idx=PAD)
        self.filters = nn.Conv1d(character_dim, num_filters, 3, padding=1)
        self.affixes = affixes if affix_dim else ()
        tables = [nn.Embedding(BUCKETS, affix_dim) for _ in range(2 * len(self.affixes))]
        self.tables = nn.ModuleList(tables)
        self.register_buffer("kinds", kinds)
        self.shapes = None if kinds is None else nn.Embedding(BUCKETS, SHAPE_DIM)
        self.word_dropout, self.affix_dropout = word_dropout, affix_dropout
        self.dim = word_dim + num_filters + affix_dim * len(tables)
        if self.shapes is not None:
            self.dim += SHAPE_DIM
            tables.append(self.shapes)
        scale = 0.1  # about what is learned of a word in a few steps: rare ones then say little
        for table in (self.words, self.characters, *tables):
            nn.init.normal_(table.weight, std=scale)
        with torch.no_grad():
            self.words.weight[PAD] = self.characters.weight[PAD] = 0.0

    def forward(self, words: Tensor) -> Tensor:
        """Return the features (B, T, D)."""
        ids, characters = words[..., 0], words[..., 1:]
        if self.training and self.word_dropout:
            dropped = torch.rand(ids.shape, device=ids.device) < self.word_dropout
            ids = ids.masked_fill(dropped & ids.ne(PAD), UNKNOWN)
        features = [self.words(ids), self._convolved(characters)]
        lengths = characters.ne(PAD).sum(dim=-1)
        for number, length in enumerate(self.affixes):
            first, last = _affixes(characters, lengths, length)
            features += [self.tables[2 * number](first), self.tables[2 * number + 1](last)]
        if self.training and self.affix_dropout and self.affixes:
            kept = torch.rand(ids.shape, device=ids.device) >= self.affix_dropout
            features[2:] = [feature * kept[..., None] for feature in features[2:]]
        if self.shapes is not None:
            features.append(self.shapes(_shapes(self.kinds[characters])))
        return torch.cat(features, dim=-1)

    def _convolved(self, characters: Tensor) -> Tensor:
        """Return (B, T, F), the greatest answer of every filter over a word's characters."""
        real = characters.ne(PAD).flatten(0, 1)  # (B * T, L)
        longest = max(1, int(real.sum(dim=1).max()))
        flat = characters.flatten(0, 1)[:, :longest]
        answers = self.filters(self.characters(flat).transpose(1, 2))  # (B * T, F, L)
        # Where a word is shorter, its padding may not answer; rectified, no answer is 0.
        answers = answers.relu() * real[:, None, :longest]
        return answers.amax(dim=-1).unflatten(0, characters.shape[:2])


def _affixes(characters: Tensor, lengths: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return buckets (B, T) of the beginnings and endings of words.

    Args:
        characters: (B, T, L), the marks of a word's ends among them.
        lengths: (B, T) of them that are no padding.
        length: Characters of an affix, besides the mark.
    """
    places = torch.arange(length + 1, device=characters.device)
    first = characters[..., : length + 1]
    at = (lengths[..., None] - 1 - places).clamp(min=0)
    last = characters.gather(-1, at)
    return _hashed(first), _hashed(last)


def _shapes(kinds: Tensor) -> Tensor:
    """Return buckets (B, T) of the kinds (B, T, L) of words' characters, repeats left out."""
    code = torch.zeros_like(kinds[..., 0])
    before = code
    for kind in kinds.unbind(dim=-1):
        changes = kind.ne(before) & kind.ne(PAD)
        code = torch.where(changes, (code * 92_821 + kind) % 2_147_483_629, code)
        before = kind
    return code % BUCKETS


def _hashed(characters: Tensor) -> Tensor:
    """Return the bucket of each sequence of characters, the same on every machine."""
    code = torch.zeros_like(characters[..., 0])
    for place in range(characters.shape[-1]):
        # A prime that is no neighbour of a power of two spreads; int64 never overflows like this.
        code = (code * 92_821 + characters[..., place]) % 2_147_483_629
    return code % BUCKETS
