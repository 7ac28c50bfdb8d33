"""Drawing the next token: at a temperature, of the k most probable, or of those that hold p."""

from __future__ import annotations

import torch
from torch import Tensor


def sampled(
    logits: Tensor,
    generator: torch.Generator,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Tensor:
    """Return a token (B,) drawn for each row of logits (B, V).

    Papers: Fan et al. 2018, arXiv:1805.04833 (top k); Holtzman et al. 2020, arXiv:1904.09751 (top
    p).

    Args:
        logits: (B, V).
        generator: Of the device of the logits.
        temperature: What logits are divided by; 0 takes the most probable token.
        top_k: Draw from as many of the most probable tokens; ties with the last of them stay in.
        top_p: Draw from the smallest set of most probable tokens that holds at least this share.
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = kept(logits.float() / temperature, top_k=top_k, top_p=top_p)
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)


def kept(logits: Tensor, *, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """Return the probabilities (B, V) that a token is drawn with: 0 for those that are left out."""
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    probabilities = logits.softmax(dim=-1)
    if top_p is not None and top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(dim=-1) - ordered  # what more probable tokens hold already
        ordered = ordered.masked_fill(before >= top_p, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(-1, order, ordered)
        probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)
    return probabilities
