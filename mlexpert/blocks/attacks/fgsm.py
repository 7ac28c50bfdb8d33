"""The fast gradient sign method: one step of the whole radius."""

from __future__ import annotations

from torch import Tensor

from mlexpert.blocks.attacks.attacked import Model
from mlexpert.blocks.attacks.pgd import pgd
from mlexpert.blocks.attacks.threat import Threat


def fgsm(model: Model, inputs: Tensor, targets: Tensor, threat: Threat) -> Tensor:
    """Return inputs (B, ...) after one step of steepest ascent of the cross-entropy.

    Paper: Goodfellow et al. 2015, arXiv:1412.6572, section 4.

    Args:
        model: Maps inputs to logits (B, K); left as it was.
        inputs: (B, ...) inside the box of the threat.
        targets: (B,) class indices.
        threat: What the attacker may do.
    """
    return pgd(model, inputs, targets, threat, steps=1, step_size=1.0)
