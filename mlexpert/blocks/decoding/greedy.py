"""Greedy decoding: the likeliest token at every place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""Maps the last tokens (R,) of R sequences and a state to logits (R, V) of the next tokens and the
state behind them."""


class Decoded(NamedTuple):
    """What was decoded of B sequences."""

    tokens: Tensor
    """(B, T) int64; the end is among them where it was reached, and padding stands behind it."""
    scores: Tensor
    """(B,) sum of the log-probabilities of the tokens, in float32."""


@torch.inference_mode()
def greedy(
    step: Step,
    state: Any,
    *,
    batch_size: int,
    max_length: int,
    begin: int,
    end: int,
    pad: int,
    forbidden: Sequence[int] = (),
    device: torch.device | str = "cpu",
) -> Decoded:
    """Return the likeliest next token, again and again.

    Args:
        step: The model.
        state: Before the first token.
        batch_size: Sequences B.
        max_length: Most tokens of a sequence, its end included.
        begin: Token that is given first.
        end: Token behind which nothing follows.
        pad: Token that fills a sequence behind its end.
        forbidden: Tokens that are never said; probabilities are over all tokens nevertheless.
        device: Where the model is.
    """
    last = torch.full((batch_size,), begin, device=device)
    scores = torch.zeros(batch_size, device=device)
    done = torch.zeros(batch_size, dtype=torch.bool, device=device)
    said: list[Tensor] = []
    while len(said) < max_length and not bool(done.all()):
        logits, state = step(last, state)
        likely = allowed(logits, forbidden)
        best, last = likely.max(dim=-1)
        scores = torch.where(done, scores, scores + best)
        last = last.masked_fill(done, pad)
        done = done | last.eq(end)
        said.append(last)
    tokens = torch.stack(said, dim=1) if said else last.new_zeros(batch_size, 0)
    return Decoded(tokens, scores)


def allowed(logits: Tensor, forbidden: Sequence[int]) -> Tensor:
    """Return log-probabilities (R, V) in float32, minus infinity at forbidden tokens."""
    likely = logits.float().log_softmax(dim=-1)
    likely[:, list(forbidden)] = -torch.inf
    return likely
