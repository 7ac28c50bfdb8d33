"""LSTM and GRU over padded and packed rows, in either direction.

Papers: Hochreiter & Schmidhuber 1997 (LSTM); Cho et al. 2014, arXiv:1406.1078 (GRU); Schuster &
Paliwal 1997 (both directions).
Rows need not be ordered by length, and are not packed in training: on a CPU torch has a quick LSTM
for padded tensors only, 5 times as quick as for packed ones. It has none for the GRU, which took
10 times as long as the LSTM over 1024 tokens: on a CPU take the LSTM.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mlexpert.blocks.mixers.documents import over_documents
from mlexpert.environment import processor_has_bf16


class RecurrentState(NamedTuple):
    """What the layers hold of each row; its size does not grow."""

    hidden: Tensor
    """(B, layers, H)."""
    cell: Tensor
    """(B, layers, H); (B, 0, H) for a GRU."""


class Recurrent(nn.Module):
    """Reads tokens (B, T, D) one after the other; the hidden states are the answers.

    Args:
        dim: Features D of a token, in and out.
        cell: `lstm` or `gru`.
        bidirectional: Whether half of the features comes from reading each document backwards.
        num_layers: Layers one above the other.

    Raises:
        ValueError: If the cell is another, or `dim` is odd and there are two directions.
    """

    def __init__(
        self,
        dim: int,
        *,
        cell: Literal["lstm", "gru"] = "lstm",
        bidirectional: bool = False,
        num_layers: int = 1,
    ) -> None:
        super().__init__()
        if cell not in ("lstm", "gru"):
            raise ValueError(f"cell is lstm or gru, got {cell!r}")
        if bidirectional and dim % 2:
            raise ValueError(f"two directions share dim={dim}, which must be even")
        self.cell, self.bidirectional = cell, bidirectional
        self.hidden_size = dim // 2 if bidirectional else dim
        kind = nn.LSTM if cell == "lstm" else nn.GRU
        self.forwards = nn.ModuleList(
            kind(dim, self.hidden_size, batch_first=True) for _ in range(num_layers)
        )
        self.backwards = nn.ModuleList(
            kind(dim, self.hidden_size, batch_first=True) for _ in range(num_layers * bidirectional)
        )

    def init_state(
        self, batch_size: int, max_length: int, *, device: torch.device | str, dtype: torch.dtype
    ) -> RecurrentState:
        """Return the state before the first token; `max_length` does not matter to its size.

        Raises:
            ValueError: If it is bidirectional: what it said of earlier tokens would change.
        """
        if self.bidirectional:
            raise ValueError("a bidirectional mixer cannot go on from a state")
        num_cells = len(self.forwards) if self.cell == "lstm" else 0
        return RecurrentState(
            *(
                torch.zeros(batch_size, count, self.hidden_size, device=device, dtype=dtype)
                for count in (len(self.forwards), num_cells)
            )
        )

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
        state: RecurrentState | None = None,
    ) -> tuple[Tensor, RecurrentState | None]:
        """Return the hidden states (B, T, D), zero at padding, and the state behind the tokens.

        Args:
            x: (B, T, D).
            mask: (B, T), True at real tokens; None where all are.
            positions: (B, T) int64; a real token at 0 begins a document. None counts real tokens.
            state: Of the tokens before these; None where there are none.
        """
        full = x.device.type == "cpu" and not processor_has_bf16()  # torch has no such LSTM there
        with torch.autocast("cpu", enabled=False) if full else nullcontext():
            x = x.float() if full and x.dtype == torch.bfloat16 else x
            return over_documents(self._read, x, mask=mask, positions=positions, state=state)

    def _read(
        self, x: Tensor, lengths: Tensor | None, state: RecurrentState | None
    ) -> tuple[Tensor, RecurrentState | None]:
        if state is not None:
            return self._go_on(x, lengths, state)
        for layer, forwards in enumerate(self.forwards):
            answers = forwards(x)[0]
            if self.bidirectional:
                reverse = self.backwards[layer](_reversed(x, lengths))[0]
                answers = torch.cat([answers, _reversed(reverse, lengths)], dim=-1)
            x = answers
        return x, None

    def _go_on(
        self, x: Tensor, lengths: Tensor | None, state: RecurrentState
    ) -> tuple[Tensor, RecurrentState]:
        """Read on from a state; packed, as only then torch returns the state at each length."""
        hidden, cell, total = [], [], x.shape[1]
        for layer, forwards in enumerate(self.forwards):
            begin: Tensor | tuple[Tensor, Tensor]
            begin = state.hidden[:, layer].unsqueeze(0).to(x.dtype).contiguous()
            if self.cell == "lstm":
                begin = (begin, state.cell[:, layer].unsqueeze(0).to(x.dtype).contiguous())
            if lengths is None:
                x, end = forwards(x, begin)
            else:
                packed = pack_padded_sequence(
                    x, lengths.cpu(), batch_first=True, enforce_sorted=False
                )
                answers, end = forwards(packed, begin)
                x, _ = pad_packed_sequence(answers, batch_first=True, total_length=total)
            hidden.append(end[0][0] if self.cell == "lstm" else end[0])
            cell += [end[1][0]] if self.cell == "lstm" else []
        cells = torch.stack(cell, dim=1) if cell else state.cell
        return x, RecurrentState(torch.stack(hidden, dim=1), cells)


def _reversed(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return documents (N, L, D) from their last token to their first, padding again behind."""
    if lengths is None:
        return x.flip(1)
    index = lengths.unsqueeze(1) - 1 - torch.arange(x.shape[1], device=x.device)
    # Behind its end a document repeats its first token, which nothing real reads.
    return x.gather(1, index.clamp(min=0).unsqueeze(-1).expand_as(x))
