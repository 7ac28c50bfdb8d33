"""Beam search: the best of several answers that are built side by side.

Papers: Sutskever et al. 2014, arXiv:1409.3215, section 3.2 (beam search); Wu et al. 2016,
arXiv:1609.08144, equation 14 (length penalty).
Differs from the papers: an answer that has ended keeps its place in the beam until all of a beam
have ended, so that a beam of 1 is greedy decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mlexpert.blocks.decoding.greedy import Decoded, Step, allowed

Reorder = Callable[[Any, Tensor], Any]
"""Maps a state and rows (R,) to the state in which row i is what row `rows[i]` was."""


@torch.inference_mode()
def beam_search(
    step: Step,
    reorder: Reorder,
    state: Any,
    *,
    batch_size: int,
    beam: int,
    max_length: int,
    begin: int,
    end: int,
    pad: int,
    forbidden: Sequence[int] = (),
    length_penalty: float = 0.0,
    device: torch.device | str = "cpu",
) -> Decoded:
    """Return the answer of the greatest score / penalty of each beam.

    Args:
        step: The model, asked for B * beam sequences; those of a beam stand together.
        reorder: Moves rows of the state within a beam.
        state: Before the first token, of B * beam rows.
        batch_size: Sequences B.
        beam: Answers that are kept at a time.
        max_length: Most tokens of an answer, its end included.
        begin: Token that is given first.
        end: Token behind which nothing follows.
        pad: Token that fills an answer behind its end.
        forbidden: Tokens that are never said.
        length_penalty: alpha in the paper; 0 compares sums of log-probabilities.
        device: Where the model is.
    """
    scores = torch.full((batch_size, beam), -torch.inf, device=device)
    scores[:, 0] = 0.0  # all begin alike: one of them is enough
    lengths = torch.zeros(batch_size, beam, device=device)
    done = torch.zeros(batch_size, beam, dtype=torch.bool, device=device)
    said = torch.zeros(batch_size, beam, 0, dtype=torch.long, device=device)
    last = torch.full((batch_size * beam,), begin, device=device)
    firsts = torch.arange(batch_size, device=device)[:, None] * beam
    while said.shape[2] < max_length and not bool(done.all()):
        logits, state = step(last, state)
        likely = allowed(logits, forbidden)
        nothing = torch.full_like(likely[0], -torch.inf)
        nothing[pad] = 0.0
        likely = torch.where(done.flatten()[:, None], nothing, likely)
        sums = scores[:, :, None] + likely.unflatten(0, (batch_size, beam))  # (B, beam, V)
        grown = lengths + (~done).float()
        ranked = sums / penalty(grown, length_penalty)[:, :, None]
        chosen = ranked.flatten(1).topk(beam, dim=1).indices  # (B, beam)
        origin, token = chosen // likely.shape[1], chosen % likely.shape[1]
        scores, lengths = sums.flatten(1).gather(1, chosen), grown.gather(1, origin)
        done = done.gather(1, origin) | token.eq(end)
        kept = said.gather(1, origin[:, :, None].expand(-1, -1, said.shape[2]))
        said = torch.cat([kept, token[:, :, None]], dim=2)
        state = reorder(state, (firsts + origin).flatten())
        last = token.flatten()
    best = (scores / penalty(lengths, length_penalty)).argmax(dim=1)
    rows = torch.arange(batch_size, device=device)
    return Decoded(said[rows, best], scores[rows, best])


def penalty(lengths: Tensor, alpha: float) -> Tensor:
    """Return ((5 + length) / 6) ** alpha of each answer, 1 where alpha is 0."""
    return ((5.0 + lengths) / 6.0) ** alpha
