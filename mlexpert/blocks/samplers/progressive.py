"""Progressively balanced sampling: from every row alike to every class alike, over the training.

Paper: Kang et al. 2020, arXiv:1910.09217, section 3, equation 3:
p_j(t) = (1 - t) n_j / N + t / K, with t the fraction of training done.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlexpert.blocks.samplers.class_balanced import class_balanced, require_one_class


def progressive(
    targets: Tensor, progress: float, generator: torch.Generator | None = None
) -> Tensor:
    """Return as many rows (N,) as there are, of which a share t is class-balanced.

    The others are taken without repetition: at t = 0 every row comes once.

    Args:
        targets: (N,) class indices, on the CPU.
        progress: Fraction of training done when the epoch starts, in [0, 1]; t in the paper.
        generator: Of random numbers, on the CPU. None: torch's default one.

    Raises:
        InputError: If rows have shares or labels of several classes.

    Example:
        >>> rows = progressive(torch.tensor([0] * 98 + [1] * 2), 0.0)
        >>> rows.sort().values.equal(torch.arange(100))
        True
    """
    require_one_class(targets)
    count = len(targets)
    balanced = round(progress * count)
    alike = torch.randperm(count, generator=generator)
    even = class_balanced(targets, generator=generator)
    rows = torch.cat([even[:balanced], alike[balanced:]])
    return rows[torch.randperm(count, generator=generator)]
