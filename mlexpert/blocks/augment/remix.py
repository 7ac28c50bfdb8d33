"""Remix: images are mixed in pairs, and the rarer class of a pair may have all of the target."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.special import betainc
from torch import Tensor

from mlexpert.blocks.augment.mixing import drawn_partners, drawn_shares, mixed
from mlexpert.blocks.losses.effective_number import counted


def remix(
    images: Tensor,
    targets: Tensor,
    generator: torch.Generator,
    *,
    row_counts: Tensor,
    alpha: float = 1.0,
    kappa: float = 3.0,
    tau: float = 0.5,
) -> tuple[Tensor, Tensor]:
    """Average every image with another row's, and give rare classes more of the target than that.

    Paper: Chou et al. 2020, arXiv:2007.03943, equations 4 to 6. Each pair has a share of its own,
    where the authors' code draws one for the whole batch.

    Args:
        images: (B, C, H, W).
        targets: (B, K) shares of the classes; `torch.nn.functional.one_hot` makes them of indices.
        generator: Source of chance. It may live on another device than the images.
        row_counts: (B,) training rows of each row's class, on the device of the images.
        alpha: Of Beta(alpha, alpha), from which the shares of the images are drawn.
        kappa: How many times as many rows the one class has to have, above 1, for the other one to
            have all of the target.
        tau: Share of the frequent class's image from which on it keeps its share of the target; 0
            is mixup.

    Returns:
        Images (B, C, H, W) and targets (B, K), both new.

    Raises:
        ValueError: If `alpha` is not above 0.
    """
    share = drawn_shares(len(images), alpha, generator).to(images.device)
    partners = drawn_partners(len(images), generator).to(images.device)
    of_target = target_shares(share, row_counts, row_counts[partners], kappa=kappa, tau=tau)
    return mixed(images, partners, share), mixed(targets.float(), partners, of_target)


def target_shares(share: Tensor, own: Tensor, other: Tensor, *, kappa: float, tau: float) -> Tensor:
    """Return the share of the target that each row's own class has (equation 6).

    Args:
        share: (B,) share of the row's own image.
        own: (B,) training rows of its class.
        other: (B,) training rows of its partner's class.
        kappa: As in `remix`.
        tau: As in `remix`.
    """
    gives = (own >= kappa * other) & (share < tau)
    takes = (other >= kappa * own) & (1 - share < tau)
    return share.masked_fill(gives, 0.0).masked_fill(takes, 1.0)


def remix_log_weight(
    class_counts: Sequence[int], *, alpha: float = 1.0, kappa: float = 3.0, tau: float = 0.5
) -> Tensor:
    """Return the logarithm (K,) of what a class has of all targets over what it has of the rows.

    Args:
        class_counts: (K,) training rows of each class.
        alpha: As in `remix`.
        kappa: As in `remix`.
        tau: As in `remix`.

    Raises:
        InputError: If a class has no training rows.

    Example:
        >>> remix_log_weight([50, 50]).tolist()
        [0.0, 0.0]
    """
    counts = counted(class_counts)
    # The mean of a share that is 0 below tau: E[x; x >= tau] = (1 - I_tau(alpha + 1, alpha)) / 2.
    kept = (1.0 - float(betainc(alpha + 1, alpha, tau))) / 2
    own, other = counts.view(-1, 1), counts.view(1, -1)
    mean = torch.full((len(counts), len(counts)), 0.5, dtype=torch.float64)
    mean = mean.masked_fill(own >= kappa * other, kept)
    mean = mean.masked_fill(other >= kappa * own, 1.0 - kept)
    # A row is as often the first of a pair as the second.
    return (2 * mean @ (counts / counts.sum())).log().float()
