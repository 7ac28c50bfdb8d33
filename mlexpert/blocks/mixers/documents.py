"""Padded and packed rows as documents: what reads tokens in order then needs no masks.

Recurrences and convolutions go from one column to the next. Padding between the columns and several
documents in a row both vanish once every document has a row of its own, padded on the right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mlexpert.blocks.mixers.masks import can_be_read, document_starts

Core = Callable[[Tensor, Tensor | None, Any], tuple[Tensor, Any]]
"""Maps documents (N, L, D), zero behind their lengths (N,), and states to answers and states."""


def over_documents(
    core: Core, x: Tensor, *, mask: Tensor | None, positions: Tensor | None, state: Any
) -> tuple[Tensor, Any]:
    """Return the answers (B, T, D) of a core that is run on every document by itself.

    Args:
        core: Takes documents (N, L, D), lengths (N,) or None where all are L, and None or a named
            tuple of tensors (N, ...): the states. Zeros are the state before a document.
        x: (B, T, D).
        mask: (B, T), True at real tokens; None where all are.
        positions: (B, T); a real token at 0 begins a document. None has one document in a row.
        state: A named tuple of tensors (B, ...), or None: then none is returned.

    Returns:
        Answers, zero at padding, and the states behind the last document of each row.
    """
    if mask is None and positions is None:
        return core(x, None, state)
    starts = None if positions is None else document_starts(mask, positions)
    if state is None and _is_right_padded(mask, starts):
        if mask is None:
            return core(x, None, None)
        padding = ~mask.unsqueeze(-1)
        answers, _ = core(x.masked_fill(padding, 0.0), mask.sum(dim=1), None)
        return answers.masked_fill(padding, 0.0), None
    real = torch.ones(x.shape[:2], device=x.device, dtype=torch.bool) if mask is None else mask
    documents = Documents.of(real, starts)
    if len(documents.rows) == 0:
        return x.masked_fill(~real.unsqueeze(-1), 0.0), state
    begin = None if state is None else type(state)(*map(documents.begin, state))
    answers, end = core(documents.split(x), documents.lengths, begin)
    if state is not None:
        state = type(state)(*map(documents.end, end, state))
    return documents.join(answers), state


def _is_right_padded(mask: Tensor | None, starts: Tensor | None) -> bool:
    """Return whether rows are documents as they stand; looked up on a CPU only."""
    given = mask if mask is not None else starts
    if given is None or not can_be_read(given):
        return False
    if mask is not None and (mask[:, 1:] & ~mask[:, :-1]).any():
        return False
    return starts is None or not starts[:, 1:].any()


@dataclass(frozen=True)
class Documents:
    """Where the M real tokens of a batch (B, T) stand, and in which of N documents."""

    shape: tuple[int, int]
    """B and T."""
    tokens: Tensor
    """(M,) index of each real token among the B T."""
    document: Tensor
    """(M,) index of its document."""
    place: Tensor
    """(M,) index of the token in its document."""
    lengths: Tensor
    """(N,) tokens."""
    rows: Tensor
    """(N,) row that the document stands in."""
    continues: Tensor
    """(N,) bool, whether it goes on from the row's state."""

    @classmethod
    def of(cls, real: Tensor, starts: Tensor | None) -> Documents:
        """Return the documents of rows whose tokens are `real` and begin one at `starts` (B, T)."""
        num_rows, length = real.shape
        count = torch.zeros_like(real, dtype=torch.long) if starts is None else starts.cumsum(dim=1)
        row = torch.arange(num_rows, device=real.device).unsqueeze(1)
        tokens = real.flatten().nonzero().squeeze(1)
        keys = (row * (length + 1) + count).flatten()[tokens]  # a start has a key of its own
        found, document, lengths = keys.unique_consecutive(return_inverse=True, return_counts=True)
        first = lengths.cumsum(dim=0) - lengths
        return cls(
            shape=(num_rows, length),
            tokens=tokens,
            document=document,
            place=torch.arange(len(tokens), device=real.device) - first[document],
            lengths=lengths,
            rows=found // (length + 1),
            continues=found % (length + 1) == 0,
        )

    def split(self, x: Tensor) -> Tensor:
        """Return the documents (N, L, D) of tokens (B, T, D), zero behind their ends."""
        documents = x.new_zeros(len(self.rows), int(self.lengths.max()), x.shape[-1])
        return documents.index_put((self.document, self.place), x.flatten(0, 1)[self.tokens])

    def join(self, documents: Tensor) -> Tensor:
        """Return the tokens (B, T, D) of documents (N, L, D), zero at padding."""
        num_rows, length = self.shape
        joined = documents.new_zeros(num_rows * length, documents.shape[-1])
        tokens = documents[self.document, self.place]
        return joined.index_put((self.tokens,), tokens).unflatten(0, self.shape)

    def begin(self, state: Tensor) -> Tensor:
        """Return the state (N, ...) before each document, of the states (B, ...) of the rows."""
        fresh = ~self.continues.view(-1, *[1] * (state.ndim - 1))
        return state[self.rows].masked_fill(fresh, 0.0)

    def end(self, state: Tensor, before: Tensor) -> Tensor:
        """Return the states (B, ...) of the rows: of their last document, or as before if none."""
        last = self.rows.new_full(self.shape[:1], -1).scatter_reduce(
            0, self.rows, torch.arange(len(self.rows), device=self.rows.device), "amax"
        )
        found = (last >= 0).view(-1, *[1] * (state.ndim - 1))
        return torch.where(found, state[last.clamp(min=0)].to(before.dtype), before)


def last_columns(columns: Tensor, lengths: Tensor | None, num_last: int) -> Tensor:
    """Return the last columns (N, num_last, D) of documents that follow `num_last` columns.

    Args:
        columns: (N, num_last + L, D).
        lengths: (N,) tokens that count of each document's L; None where all do.
        num_last: Columns before the first token, and columns returned.
    """
    if lengths is None:
        return columns[:, columns.shape[1] - num_last :]
    index = lengths.unsqueeze(1) + torch.arange(num_last, device=columns.device)
    return columns.gather(1, index.unsqueeze(-1).expand(-1, -1, columns.shape[-1]))
