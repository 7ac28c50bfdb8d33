"""The one mask convention of all mixers, and what attention may see under it.

A mask (B, T) is bool and True at real tokens; padding may stand left, right or in between.
Positions (B, T) count the real tokens from 0. A real token at position 0 begins a document: several
of them packed into one row are told apart by their positions alone, and no mixer looks across such
a start.
"""

from __future__ import annotations

import torch
from torch import Tensor


def positions_of(mask: Tensor) -> Tensor:
    """Return the positions (B, T) int64 of the tokens of a mask (B, T): real ones count from 0.

    Padding has the position of the real token before it, or 0.
    """
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)


def document_starts(mask: Tensor | None, positions: Tensor) -> Tensor:
    """Return (B, T) bool, True where a real token has position 0 and so begins a document."""
    starts = positions.eq(0)
    return starts if mask is None else starts & mask


def can_be_read(values: Tensor) -> bool:
    """Return whether values can be looked up for nothing: not on a GPU, which would be waited for.

    Nor in a graph that is compiled, or in a tensor without values, of which only memory is asked.
    """
    is_real = type(values) is Tensor
    return is_real and values.device.type == "cpu" and not torch.compiler.is_compiling()


def attention_mask(
    mask: Tensor | None,
    positions: Tensor | None,
    *,
    causal: bool,
    window: int | None = None,
    past: int = 0,
) -> Tensor | None:
    """Return which keys each query may see, for `scaled_dot_product_attention`.

    Args:
        mask: (B, S), True at real tokens; None where all are.
        positions: (B, S) or (1, S); None takes them from the mask.
        causal: Whether a query sees only itself and the columns before it.
        window: A query sees tokens that are fewer than so many positions away; None sees all.
        past: Leading columns that are keys only. The queries are the last T = S - past.

    Returns:
        (B, 1, T, S) or (1, 1, T, S) bool, True where the key may be seen. Every query sees itself,
        padded ones too: a softmax over no keys is not a number. None where
        `is_causal=causal` without a mask gives the same for all real queries, and sooner; this is
        looked up in the values on a CPU only, as elsewhere it would wait for the device.

    Raises:
        ValueError: If neither mask nor positions are given although a mask is needed.
    """
    if past == 0 and _is_plain(mask, positions, causal=causal, window=window):
        return None
    given = mask if mask is not None else positions
    if given is None:
        raise ValueError("a window, or keys before the queries, need a mask or positions")
    real = torch.ones_like(given, dtype=torch.bool) if mask is None else mask
    positions = positions_of(real) if positions is None else positions
    documents = document_starts(real, positions).long().cumsum(dim=1)  # (B, S)
    seen = real[:, None, :] & documents[:, past:, None].eq(documents[:, None, :])  # (B, T, S)
    columns = torch.arange(given.shape[1], device=given.device)
    if causal:
        seen = seen & (columns <= columns[past:, None])
    if window is not None:
        seen = seen & ((positions[:, past:, None] - positions[:, None, :]).abs() < window)
    return (seen | columns.eq(columns[past:, None])).unsqueeze(1)


def _is_plain(
    mask: Tensor | None, positions: Tensor | None, *, causal: bool, window: int | None
) -> bool:
    """Return whether the structure of the columns alone says what may be seen."""
    if mask is None and positions is None:
        return window is None
    given = mask if mask is not None else positions
    if given is None or not can_be_read(given):
        return False
    if window is not None:
        positions = positions_of(mask) if positions is None and mask is not None else positions
        if positions is None or int(positions.max() - positions.min()) >= window:
            return False
    if mask is not None:
        # Behind a causal query right padding is out of sight without a mask.
        visible = (mask[:, 1:] & ~mask[:, :-1]).any() if causal else (~mask).any()
        if visible:
            return False
    return positions is None or not document_starts(mask, positions)[:, 1:].any()
