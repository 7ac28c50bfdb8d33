"""Windows of one long row of tokens: views that are cut out when their batch is due.

The texts of a part stand one after the other, each behind a boundary. A window of T tokens is to
tell the T that come one place later, so T + 1 are cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlexpert.data.sequences.text_codec import BOUNDARY, TextCodec


@dataclass(frozen=True)
class Windows:
    """Where windows begin, and how many of the last tokens of each are scored.

    Attributes:
        starts: (N,) int64.
        scored: (N,) int64; the tokens before them are context that another window has scored.
    """

    starts: Tensor
    scored: Tensor


class TokenStore:
    """Windows (T + 1) of one row of tokens (M,).

    Args:
        tokens: (M,) int32.
        starts: (N,) int64, the first token of each window.
        width: T + 1.
    """

    in_memory, is_ragged = True, False

    def __init__(self, tokens: Tensor, starts: Tensor, width: int) -> None:
        self.tokens, self.starts, self.width = tokens, starts, width
        self.nbytes = tokens.nbytes + starts.nbytes
        self._places = torch.arange(width, device=tokens.device)

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, index: Tensor) -> Tensor:
        """Return the windows (B, T + 1) int64 at `index` (B,)."""
        starts = self.starts[index.to(self.starts.device)]
        return self.tokens[starts[:, None] + self._places].long()

    def longest(self, count: int) -> Tensor:
        """Return the first windows: all are of one length."""
        return torch.arange(min(count, len(self)))

    def select(self, rows: Tensor) -> TokenStore:
        """Return some windows, of the same tokens."""
        return TokenStore(self.tokens, self.starts[rows], self.width)

    def to(self, device: torch.device) -> TokenStore:
        """Return the tokens on `device`."""
        return TokenStore(self.tokens.to(device), self.starts.to(device), self.width)


def joined(texts: Sequence[str], codec: TextCodec) -> Tensor:
    """Return the tokens (M,) int32 of texts, each behind a boundary.

    Several texts end in a boundary as well, so that the end of each is told; a single one, which
    may have been cut out of a longer one, does not.
    """
    boundary = np.array([BOUNDARY], dtype=np.int32)
    pieces = [piece for text in texts for piece in (boundary, codec.encode(text))]
    return torch.from_numpy(np.concatenate([*pieces, boundary] if len(texts) > 1 else pieces))


def every_start(num_tokens: int, width: int) -> Tensor:
    """Return all places (N,) at which a window of `width` tokens may begin."""
    return torch.arange(max(1, num_tokens - width + 1))


def covering(num_tokens: int, width: int, stride: int) -> Windows:
    """Return windows that score every token but the first exactly once.

    Args:
        num_tokens: M.
        width: T + 1 tokens of a window, at most M.
        stride: Tokens that a window scores, at most T; a smaller one gives each more context. The
            first window scores all of its own, the last ends with the last token.
    """
    length = width - 1
    ends = [*range(length, num_tokens - 1, stride), num_tokens - 1]  # last scored token of each
    ends_of = torch.tensor(ends)
    scored = ends_of.diff(prepend=torch.zeros(1, dtype=torch.int64))
    return Windows(ends_of - length, scored)
