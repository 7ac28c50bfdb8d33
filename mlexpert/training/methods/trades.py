"""TRADES: cross-entropy on clean inputs, and how far an attacker moves what is said of them.

Paper: Zhang et al. 2019, arXiv:1901.08573, equation 5 and algorithm 1.
"""

from __future__ import annotations

from torch import Tensor, nn

from mlexpert.blocks.attacks.attacked import attacked, logits_at
from mlexpert.blocks.losses.attacked_divergence import attacked_divergence, log_probabilities_of
from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.training.method import Batch, Loss, summed
from mlexpert.training.methods.adversarial import AdversarialMethod, Attacking


class Trades(AdversarialMethod):
    """Lowers the cross-entropy of clean inputs plus beta times the attacker's divergence.

    Args:
        how: How it attacks.
        beta: What the divergence counts; 1 / lambda in the paper.
    """

    def __init__(self, how: Attacking, *, beta: float) -> None:
        super().__init__(how)
        self.beta = beta

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Attack a micro-batch, and return the sum of its rows' losses."""
        return self.trades(model, batch, self.attacked(model, batch))

    def attacked(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return inputs (B, ...) after an attack that raises the divergence."""
        with attacked(model):  # what is said of clean inputs does not change from step to step
            clean = log_probabilities_of(logits_at(model, batch.inputs))
        return self.adversarial(
            model, batch, lambda logits, targets: attacked_divergence(clean, logits)
        )

    def trades(self, model: nn.Module, batch: Batch, moved: Tensor) -> Loss:
        """Return the loss of a micro-batch, given its inputs under attack."""
        clean = model(batch.inputs)
        divergence = attacked_divergence(log_probabilities_of(clean), model(moved))
        return summed(cross_entropy(clean, batch.targets) + self.beta * divergence, batch)
