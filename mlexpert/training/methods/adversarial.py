"""What every method that trains against an attacker does: it attacks, and judges by an attack."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn

from mlexpert.blocks.attacks.attacked import attacked, logits_at
from mlexpert.blocks.attacks.margins import cross_entropy, is_broken
from mlexpert.blocks.attacks.pgd import Objective, pgd, pgd_restarts
from mlexpert.blocks.attacks.threat import Threat
from mlexpert.training.method import Batch, Examined, Method

COLLAPSE, ERRORS = 0.2, 3.0
"""A fall of the robust accuracy from an epoch's best by so much is catastrophic overfitting; of few
rows it has to be so many standard errors, or chance would end training."""
JUDGE_STEPS, JUDGE_STEP = 10, 0.25
"""Of the attack that judges an epoch, and the length of its step as a share of epsilon."""


@dataclass(frozen=True)
class Attacking:
    """How training attacks.

    Attributes:
        threat: What the attacker may do.
        steps: Steps of an attack.
        step_size: Length of a step as a share of epsilon.
        warmup: Optimiser steps over which epsilon rises from 0; a network that meets a strong
            attacker at once may learn nothing.
        judged: Most validation rows that are attacked after an epoch.
        augment: Changes a batch before it is attacked; None leaves it.
    """

    threat: Threat
    steps: int
    step_size: float
    warmup: int = 0
    judged: int = 1000
    augment: Callable[[Batch], Batch] | None = None


class AdversarialMethod(Method):
    """Attacks the batch, and scores each epoch by PGD on validation rows that never change.

    Where the robust accuracy falls by 20 points from one epoch to a later one the task ends, with a
    warning, and the weights of its best epoch are kept: training by a weak attack may find weights
    that only that attack cannot break (Wong et al. 2020, arXiv:2001.03994, section 5.4).

    Args:
        how: How it attacks.
    """

    def __init__(self, how: Attacking) -> None:
        super().__init__()
        self.how = how
        self.done = 0  # batches drawn: one whose step fp16 skips counts, or the warm-up would drift
        self.best = 0.0
        """The best robust accuracy of an epoch so far."""

    def draw(self, model: nn.Module, batch: Batch) -> Batch:
        """Return the batch augmented."""
        self.done += 1
        return batch if self.how.augment is None else self.how.augment(batch)

    def threat(self) -> Threat:
        """Return what the attacker may do in this step."""
        if self.done >= self.how.warmup:
            return self.how.threat
        return self.how.threat.scaled(self.done / self.how.warmup)

    def adversarial(
        self, model: nn.Module, batch: Batch, objective: Objective = cross_entropy
    ) -> Tensor:
        """Return the inputs (B, ...) of a batch after PGD from a random start.

        Random numbers come from torch's default generator. Half precision is fine for a sign, but
        for fp16, in which small gradients are 0.
        """
        how, threat = self.how, self.threat().to(batch.inputs)
        start = threat.random_start(batch.inputs, torch.rand_like(batch.inputs))
        with whole_where_fp16(batch.inputs):
            return pgd(
                model,
                batch.inputs,
                batch.targets,
                threat,
                steps=how.steps,
                step_size=how.step_size,
                objective=objective,
                start=start,
            )

    def examine(self, model: nn.Module, rows: Iterator[Batch]) -> Examined:
        """Return `robust_error` and `robust_log_loss` of validation rows under PGD."""
        broken, losses = judged(model, rows, self.how)
        accuracy = 1 - broken.double().mean().item()
        fall, self.best = self.best - accuracy, max(self.best, accuracy)
        over = ""
        if self.done > self.how.warmup and fall > max(
            COLLAPSE, ERRORS * math.sqrt(0.5 / len(broken))
        ):
            over = (
                f"the robust accuracy on validation fell from {self.best:.3f} to {accuracy:.3f}, "
                "which is catastrophic overfitting to the attack of training. More steps keep it "
                "away; of fast-at more noise does, or steps of random length (shortest=0)."
            )
        found = {"robust_error": 1 - accuracy, "robust_log_loss": losses.double().mean().item()}
        return Examined(found, over)

    def get_extra_state(self) -> dict[str, Any]:
        """Return where it stands, which a checkpoint keeps."""
        return {"done": self.done, "best": self.best}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from where a checkpoint stood."""
        self.done, self.best = state["done"], state["best"]


def judged(model: nn.Module, rows: Iterator[Batch], how: Attacking) -> tuple[Tensor, Tensor]:
    """Return whether PGD breaks rows (N,), and the cross-entropy (N,) where it ends.

    The random starts belong to the rows: every epoch is judged by the same attack.
    """
    broken: list[Tensor] = []
    losses: list[Tensor] = []
    for batch in rows:
        left = how.judged - sum(map(len, broken))
        if left <= 0:
            break
        batch = batch.map(itemgetter(slice(left)))
        found = pgd_restarts(
            model,
            batch.inputs,
            batch.targets,
            how.threat,
            steps=JUDGE_STEPS,
            step_size=JUDGE_STEP,
            restarts=1,
            seed=0,
            ids=batch.index,
        )
        with attacked(model):
            logits = logits_at(model, found)
        broken.append(is_broken(logits, batch.targets))
        losses.append(cross_entropy(logits, batch.targets))
    return torch.cat(broken).cpu(), torch.cat(losses).cpu()


def whole_where_fp16(inputs: Tensor) -> torch.autocast:
    """Return a context that computes in float32 where autocast would take fp16."""
    device = inputs.device.type
    dtype, is_on = torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
    return torch.autocast(device, dtype=dtype, enabled=is_on and dtype != torch.float16)
