"""No decision rule: the model's answer is a sequence, which it gives by itself."""

from __future__ import annotations

from typing import NoReturn

from torch import Tensor

from mlexpert.blocks.decisions.decision import DecisionRule


class Undecided(DecisionRule):
    """Stands where a decision rule would; nothing can be asked of it."""

    def probabilities(self, logits: Tensor) -> NoReturn:
        """Refuse."""
        raise TypeError("sequences have no probabilities of classes")

    def decide(self, logits: Tensor) -> NoReturn:
        """Refuse."""
        raise TypeError("sequences are not decided by class")
