"""Distillation: a model is trained towards what another one, or an earlier self, says of a row."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mlexpert.errors import InputError


def distillation(logits: Tensor, teacher: Tensor, *, temperature: float = 2.0) -> Tensor:
    """Return T^2 KL(p || q) of every example, p and q the softmax of both logits over T.

    The factor keeps the size of the gradient whatever the temperature (Hinton et al. 2015,
    arXiv:1503.02531, section 2.1). A class whose logits are both `MASKED` takes no part.

    Args:
        logits: (B, K), or (B, M, K) for M members, whose losses are averaged. Computed in float32
            whatever their type.
        teacher: The same shape; no gradient flows into it.
        temperature: T, above 0.

    Returns:
        (B,) losses in nats times T^2, 0 where both say the same.

    Raises:
        InputError: If the temperature is not above 0.

    Example:
        >>> import torch
        >>> distillation(torch.zeros(1, 2), torch.tensor([[9.0, -9.0]]), temperature=1.0).exp()
        tensor([2.0000])
    """
    if not temperature > 0:
        raise InputError(f"temperature={temperature!r}; it has to be above 0.")
    log_q = (logits.float() / temperature).log_softmax(dim=-1)
    log_p = (teacher.detach().float() / temperature).log_softmax(dim=-1)
    losses = temperature**2 * F.kl_div(log_q, log_p, log_target=True, reduction="none").sum(dim=-1)
    return losses.flatten(1).mean(dim=1) if losses.ndim == 2 else losses


def binary_distillation(
    logits: Tensor, teacher: Tensor, targets: Tensor, *, distilled: Tensor
) -> Tensor:
    """Return the sum over classes of the binary cross-entropy, towards the teacher for some.

    iCaRL's loss (Rebuffi et al. 2017, arXiv:1611.07725, algorithm 3): a class that the teacher
    knows has its sigmoid for a target, another one the label. A `MASKED` logit whose target is 0
    adds nothing.

    Args:
        logits: (B, K), or (B, M, K) for M members, whose losses are averaged. Computed in float32
            whatever their type.
        teacher: The same shape; no gradient flows into it.
        targets: (B,) class indices.
        distilled: (K,) whether the teacher is asked about each class.

    Returns:
        (B,) losses in nats.

    Example:
        >>> import torch
        >>> says, knows = torch.tensor([[0.0, 0.0]]), torch.tensor([True, False])
        >>> binary_distillation(says, says, torch.tensor([1]), distilled=knows).exp()
        tensor([4.])
    """
    labels = F.one_hot(targets, logits.shape[-1]).float()
    if logits.ndim == 3:
        labels = labels.unsqueeze(1)
    soft = teacher.detach().float().sigmoid().where(distilled, labels)
    losses = F.binary_cross_entropy_with_logits(logits.float(), soft, reduction="none").sum(dim=-1)
    return losses.flatten(1).mean(dim=1) if losses.ndim == 2 else losses
