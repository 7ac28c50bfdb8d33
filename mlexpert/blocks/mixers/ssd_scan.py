"""The recurrence of a selective state space: all tokens in chunks, or one token.

h_t = exp(a_t) h_{t-1} + d_t b_t x_t^T and y_t = c_t^T h_t, per head; the heads share b and c.

Paper: Dao & Gu 2024, arXiv:2405.21060, equation 16 and listing 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def step(
    values: Tensor, steps: Tensor, decays: Tensor, writes: Tensor, reads: Tensor, hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the answer to one token and the memory behind it.

    Args:
        values: (B, 1, H, P); x.
        steps: (B, 1, H) float32, how much of the value is written; d.
        decays: (B, 1, H) float32, at most 0, in logarithms; a.
        writes: (B, 1, N); b.
        reads: (B, 1, N); c.
        hidden: (B, N, H, P) float32.

    Returns:
        (B, 1, H, P) in the type of the values, and (B, N, H, P) float32.
    """
    added = writes[:, 0, :, None, None].float() * (
        values.float() * steps.unsqueeze(-1)
    )  # (B, N, H, P)
    hidden = hidden * decays.exp().unsqueeze(-1) + added
    answers = (reads[:, 0, :, None, None].float() * hidden).sum(dim=1, keepdim=True)
    return answers.to(values.dtype), hidden


def scan(
    values: Tensor,
    steps: Tensor,
    decays: Tensor,
    writes: Tensor,
    reads: Tensor,
    hidden: Tensor | None = None,
    *,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    """Return the answers to all tokens and the memory behind them.

    Sums of decays and the memory are fp32 also where the products are bf16.

    Args:
        values: (B, T, H, P); x.
        steps: (B, T, H) float32, above 0, or 0 where nothing is written; d.
        decays: (B, T, H) float32, at most 0, in logarithms; a.
        writes: (B, T, N); b.
        reads: (B, T, N); c.
        hidden: (B, N, H, P) float32 before the first token; None is zero.
        chunk: Tokens Q that are mixed by one product.

    Returns:
        (B, T, H, P) in the type of the values, and (B, N, H, P) float32.
    """
    length = values.shape[1]
    size = min(chunk, length)
    tail = -length % size  # an added token decays nothing and writes nothing
    parts = (values.flatten(2), steps, decays, writes, reads)
    x, d, a, b, c = (F.pad(part, (0, 0, 0, tail)).unflatten(1, (-1, size)) for part in parts)
    heads = (values.shape[2], values.shape[3])
    total = a.cumsum(dim=2)  # (B, K, Q, H): decay from the chunk's start to the token, inclusive
    answers = _within(x.unflatten(-1, heads), d, total, b, c).flatten(3)

    # What each chunk leaves behind, (B, K, N, H P), and what it finds.
    left = (d * (total[:, :, -1:] - total).exp()).to(x.dtype)  # (B, K, Q, H)
    written = b.mT @ (x.unflatten(-1, heads) * left.unsqueeze(-1)).flatten(3)
    whole = total[:, :, -1].exp()  # (B, K, H)
    found, hidden = _carry(written.unflatten(-1, heads), whole, hidden)
    if found is not None:
        across = (c @ found.flatten(3).to(c.dtype)).unflatten(-1, heads)
        answers = answers + (across * total.exp().to(x.dtype).unsqueeze(-1)).flatten(3)
    return answers.flatten(1, 2)[:, :length].unflatten(-1, heads).to(values.dtype), hidden


def _within(x: Tensor, d: Tensor, total: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return what the tokens (B, K, Q, H, P) of a chunk say to each other."""
    size = x.shape[2]
    sums = total.transpose(2, 3)  # (B, K, H, Q)
    later = torch.ones(size, size, device=x.device, dtype=torch.bool).triu(1)
    # Before exp: from a later token to an earlier one it would overflow, and its gradient too.
    # The steps go into the exponent, where they cost H Q numbers, not H Q P.
    source = sums - d.transpose(2, 3).clamp(min=1e-30).log()
    faded = (sums.unsqueeze(-1) - source.unsqueeze(-2)).masked_fill(later, -torch.inf).exp()
    scores = (c @ b.mT).unsqueeze(2) * faded.to(c.dtype)  # (B, K, H, Q, Q)
    return (scores @ x.transpose(2, 3)).transpose(2, 3)


def _carry(written: Tensor, whole: Tensor, hidden: Tensor | None) -> tuple[Tensor | None, Tensor]:
    """Return the memory before each chunk (B, K, N, H, P), None if all zero, and after the last."""
    if written.shape[1] == 1 and hidden is None:
        return None, written[:, 0].float()
    now = torch.zeros_like(written[:, 0], dtype=torch.float32) if hidden is None else hidden
    found = []
    # Unbound at once: backward then gathers the parts once, where every index fills a whole tensor.
    steps = zip(whole.unsqueeze(2).unsqueeze(-1).unbind(1), written.unbind(1), strict=True)
    for factor, added in steps:
        found.append(now)
        now = torch.addcmul(added.float(), now, factor)
    return torch.stack(found, dim=1), now
