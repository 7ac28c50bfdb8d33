"""Scaled dot-product attention by whichever kernel is the fast one.

Of torch's kernels for a CPU the backward pass in half precision takes up to eight times as long as
that in single precision. Products of matrices are fast in both, so short sequences are trained by
those, and what remains in single precision.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LONGEST = 512
"""Tokens up to which all weights of attention may be held at once."""


def attend(
    q: Tensor, k: Tensor, v: Tensor, *, seen: Tensor | None, causal: bool, dropout: float = 0.0
) -> Tensor:
    """Return the mixed values (B, H, T, D).

    Papers: Vaswani et al. 2017, arXiv:1706.03762, equation 1; Ainslie et al. 2023, arXiv:2305.13245
    (fewer heads of keys).

    Args:
        q: (B, H, T, D).
        k: (B, G, S, D); G divides H.
        v: (B, G, S, D).
        seen: (B or 1, 1, T, S) bool, the keys that a query may see; None leaves it to `causal`.
        causal: Without `seen`, whether query i sees the keys 0 to i alone.
        dropout: Share of the weights dropped.
    """
    is_grouped = q.shape[1] != k.shape[1]
    is_half = q.dtype in (torch.bfloat16, torch.float16)
    is_slow = is_half and q.device.type == "cpu" and torch.is_grad_enabled()
    is_plain = seen is None and causal and not dropout and not is_grouped
    if is_slow and is_plain and k.shape[2] <= LONGEST:
        return _by_products(q, k, v)

    def mixed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=seen,
            dropout_p=dropout,
            is_causal=causal and seen is None,
            enable_gqa=is_grouped,
        )

    if not is_slow:
        return mixed(q, k, v)
    with torch.autocast("cpu", enabled=False):
        return mixed(q.float(), k.float(), v.float()).to(q.dtype)


def _by_products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return causal attention by products of matrices, all weights at once."""
    batch, heads, length, size = q.shape
    q, k, v = (part.reshape(batch * heads, -1, part.shape[-1]) for part in (q, k, v))
    later = torch.full((length, length), -torch.inf, dtype=q.dtype, device=q.device).triu_(1)
    logits = torch.baddbmm(later.expand(batch * heads, -1, -1), q, k.mT, alpha=size**-0.5)
    return torch.bmm(logits.softmax(dim=-1), v).view(batch, heads, length, -1)
