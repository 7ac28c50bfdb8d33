"""What mixup and CutMix share: who is mixed with whom and how much, and the targets of that."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def drawn_shares(count: int, alpha: float, generator: torch.Generator) -> Tensor:
    """Return shares (count,) from Beta(alpha, alpha), on the generator's device.

    Raises:
        ValueError: If `alpha` is not above 0.
    """
    if alpha <= 0:
        raise ValueError(f"alpha has to be above 0, got {alpha}")
    # torch's Beta takes no generator; numpy's is seeded from the one that is given.
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    shares = np.random.default_rng(int(seed)).beta(alpha, alpha, count)
    return torch.from_numpy(shares).float().to(generator.device)


def drawn_partners(count: int, generator: torch.Generator) -> Tensor:
    """Return a permutation (count,): the row that each is mixed with."""
    return torch.randperm(count, generator=generator, device=generator.device)


def mixed(rows: Tensor, partners: Tensor, share: Tensor) -> Tensor:
    """Return `share` (B,) of each row (B, ...) and the rest of its partner's."""
    share = share.view(-1, *[1] * (rows.ndim - 1))
    return torch.lerp(rows[partners], rows, share)
