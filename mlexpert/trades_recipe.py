"""What recipes share that rest on TRADES: what its divergence counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlexpert.adversarial import AdversarialRecipe


@dataclass(frozen=True, kw_only=True)
class TradesRecipe(AdversarialRecipe):
    """A recipe whose loss has the attacker's divergence in it."""

    beta: float = 6.0
    """What the divergence counts beside the cross-entropy; 1 / lambda in the paper. More is more
    robust and less accurate: 6 for CIFAR-10, 1 for MNIST in the paper."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(0 <= self.beta < math.inf, "beta", "0 or more")
