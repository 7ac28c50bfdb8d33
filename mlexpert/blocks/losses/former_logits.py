"""The distance from what a network said of a row before: dark knowledge that is replayed.

Paper: Buzzega et al. 2020, arXiv:2004.07211, equation 4.
"""

from __future__ import annotations

from torch import Tensor

from mlexpert.blocks.layers.task_classes import MASKED


def former_logits_error(logits: Tensor, former: Tensor) -> Tensor:
    """Return the squared error (B,) of logits to former ones, the mean over the outputs of then.

    Args:
        logits: (B, K) or (B, M, K), of whose members it is the mean.
        former: As many outputs or fewer; `MASKED` where the network had none yet.
    """
    known = former > MASKED / 2
    errors = (logits[..., : former.shape[-1]].float() - former).square().where(known, 0)
    means = errors.sum(dim=-1) / known.sum(dim=-1).clamp_min(1)
    return means.view(len(means), -1).mean(dim=1)
