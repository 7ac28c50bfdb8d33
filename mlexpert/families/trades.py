"""What recipes share that rest on TRADES: what its divergence counts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

from mlexpert.data.schema import Schema
from mlexpert.families.adversarial import AdversarialRecipe


@dataclass(frozen=True, kw_only=True)
class TradesRecipe(AdversarialRecipe):
    """A recipe whose loss has the attacker's divergence in it."""

    beta: float | None = None
    """What the divergence counts beside the cross-entropy; 1 / lambda in the paper. More is more
    robust and less accurate. None: 6 for colour images, 1 for grey ones and tables, as in the paper
    for CIFAR-10 and MNIST."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(self.beta is None or 0 <= self.beta < math.inf, "beta", "0 or more")

    def settle(self, schema: Schema) -> Self:
        """Fill in the numbers that depend on the kind of data; errors as in the family."""
        in_colour = schema.image is not None and schema.image.channels > 1
        beta = self.beta if self.beta is not None else 6.0 if in_colour else 1.0
        return replace(super().settle(schema), beta=beta)
