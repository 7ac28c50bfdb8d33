"""Label-distribution-aware margins: a rarer class has to be told apart by more.

Paper: Cao et al. 2019, arXiv:1906.07413, equations 11 and 13; normalised weights and features with
a scale are of section 4.
Differs from the paper: none; the scale multiplies the whole logit, margin included, as in the
authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.blocks.losses.effective_number import counted
from mlexpert.errors import InputError


class Ldam(nn.Module):
    """Cross-entropy of cosine logits, that of the true class less its margin.

    Args:
        class_counts: (K,) training rows n of each class, all above 0. Margins are in proportion to
            n^(-1/4).
        max_margin: Margin of the rarest class, in units of cosine; C in the paper.
        scale: That of the cosine classifier the logits are from; s in the authors' code.

    Raises:
        InputError: If a class has no training rows, `max_margin` is not in [0, 2), or `scale` is
            not above 0.

    Example:
        >>> loss = Ldam([16, 1], max_margin=0.5, scale=30.0)
        >>> (loss.margin / 30).tolist()
        [0.25, 0.5]
    """

    margin: Tensor

    def __init__(
        self, class_counts: Sequence[int], *, max_margin: float = 0.5, scale: float = 30.0
    ) -> None:
        super().__init__()
        if not 0 <= max_margin < 2:
            raise InputError(f"max_margin={max_margin!r}; it has to be 0 or more and below 2.")
        if not 0 < scale < math.inf:
            raise InputError(f"scale={scale!r}; it has to be a number above 0.")
        margin = counted(class_counts) ** -0.25
        self.register_buffer("margin", (margin * (scale * max_margin / margin.max())).float())

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the losses (B,) in nats.

        Args:
            logits: (B, K), or (B, M, K) for M members: scale times cosine.
            targets: (B,) class indices, or (B, K) shares, each of which has its share of the
                margin.
        """
        shares = targets if targets.ndim == 2 else F.one_hot(targets, len(self.margin))
        margin = shares * self.margin  # (B, K)
        if logits.ndim == 3:
            margin = margin.unsqueeze(1)
        return cross_entropy(logits.float() - margin, targets)
