"""Tau-normalised decisions: classes are compared by logits whose weights have nearly one norm.

A network that is trained on long-tailed data has larger weights for frequent classes. The decision
takes the norms out of a linear head's logits; probabilities stay those of the natural prior.

Paper: Kang et al. 2020, arXiv:1910.09217, section 4.2, equation 4: w_k / ||w_k||^tau, no bias.
Differs from the paper: weights and logits are centred over the classes first, which changes no
probability, so that the rule is one of probabilities too. An ensemble has the mean norms and biases
of its members. It is for three classes or more: the centred weights of two are opposite, and of one
norm. (The paper's are nearly so: the softmax's gradients add up to 0 over the classes.)
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from mlexpert.blocks.decisions.calibration import Calibration
from mlexpert.blocks.decisions.decision import Decision, DecisionRule
from mlexpert.blocks.decisions.temperature import log_probabilities
from mlexpert.blocks.decisions.tuning import MIN_ROWS_PER_CLASS, rarest_class, tuned

TAU = 0.7
TAU_GRID = tuple(step / 10 for step in range(21))


class TauNormalized(DecisionRule):
    """Decides by (z_k - b_k) / ||w_k||^tau; until a head is read, by the largest logit.

    Args:
        num_classes: Classes, K.

    Example:
        >>> decide = TauNormalized(3)
        >>> decide.read(torch.diag(torch.tensor([4.0, 1.0, 1.0])), torch.zeros(3))
        >>> decide.decide(torch.tensor([[1.2, 1.0, -2.2]]))
        tensor([1])
    """

    tau: Tensor
    bias: Tensor
    norm: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.calibration = Calibration()
        self.register_buffer("tau", torch.tensor(TAU))
        self.register_buffer("bias", torch.zeros(num_classes))
        self.register_buffer("norm", torch.ones(num_classes))

    @torch.no_grad()
    def read(self, weight: Tensor, bias: Tensor) -> None:
        """Take over the norms and biases of a linear head.

        Args:
            weight: (K, F), or (M, K, F) of M members.
            bias: (K,), or (M, K).
        """
        wide, of_class = weight.double().cpu(), bias.double().cpu()
        wide = wide - wide.mean(dim=-2, keepdim=True)
        of_class = of_class - of_class.mean(dim=-1, keepdim=True)
        num_classes = len(self.bias)
        self.norm.copy_(wide.norm(dim=-1).view(-1, num_classes).mean(dim=0).clamp_min(1e-12))
        self.bias.copy_(of_class.view(-1, num_classes).mean(dim=0))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the calibrated probabilities (N, K) of logits (N, K) or (N, M, K)."""
        return self.calibration.probabilities(logits)

    def decide(self, logits: Tensor) -> Tensor:
        """Return the chosen class (N,) of logits (N, K) or (N, M, K)."""
        return self._decided(logits, self.tau)

    def _decided(self, logits: Tensor, tau: Tensor | float) -> Tensor:
        log_p = log_probabilities(logits)
        centred = log_p - log_p.mean(dim=1, keepdim=True)
        return ((centred - self.bias) / self.norm**tau).argmax(dim=1)

    @torch.no_grad()
    def fit(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Decision:
        """Choose the temperature, and tau where validation has rows enough.

        Args:
            logits: (N, K) or (N, M, K) of the validation rows.
            targets: (N,) class indices.
            weights: (N,) how much each row counts, or None where all count alike.

        Returns:
            What was chosen and why.
        """
        self.calibration.fit(logits, targets, weights)
        rarest = rarest_class(targets, weights, len(self.bias))
        tau, why = TAU, f"the rarest class has {rarest} validation rows, and tau is tuned from "
        why += f"{MIN_ROWS_PER_CLASS} upwards"
        if rarest >= MIN_ROWS_PER_CLASS:
            decided = {tau: self._decided(logits, tau) for tau in TAU_GRID}
            tau, gain = tuned(decided, targets, weights, default=TAU, num_classes=len(self.bias))
            why = f"balanced accuracy on validation is {gain:.3f} above that of tau = {TAU:g}"
            if tau == TAU:
                why = f"no other of {len(TAU_GRID)} values was better by over a standard error"
        self.tau.fill_(tau)
        return Decision(
            temperature=float(self.calibration.temperature),
            tau=0.0,  # of the training prior, which this rule does not look at
            rule=f"logits over the norms of the head's weights to the power of {tau:g}: {why}",
            rarest_rows=rarest,
        )

    @classmethod
    def joint(cls, rules: Sequence[Self]) -> Self:
        """Return a rule with the mean norms and biases, in the units of calibrated logits."""
        joint = copy.deepcopy(rules[0])
        temperature = torch.stack([rule.calibration.temperature for rule in rules]).unsqueeze(1)
        joint.norm = (torch.stack([rule.norm for rule in rules]) / temperature).mean(dim=0)
        joint.bias = (torch.stack([rule.bias for rule in rules]) / temperature).mean(dim=0)
        return joint
