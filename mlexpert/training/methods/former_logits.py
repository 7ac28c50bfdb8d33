"""What methods share that replay rows with what the network once said of them."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from mlexpert.blocks.layers.task_classes import TaskClasses
from mlexpert.blocks.losses.former_logits import former_logits_error
from mlexpert.blocks.replay.reservoir import Reservoir
from mlexpert.training.method import Batch, Loss
from mlexpert.training.methods.replay import Replay, Replaying


class FormerLogits(Replay):
    """Keeps rows with their logits, and draws twice: for the logits, and for the labels.

    Args:
        classes: Which were met; shared with the rule that decides.
        memory: Where rows and logits are kept.
        how: How rows are masked, changed and drawn.
        alpha: Weight of the squared error to former logits, on the first draw.
        beta: Weight of the losses of the second draw.
    """

    num_draws: ClassVar[int] = 2
    memory: Reservoir

    def __init__(
        self,
        classes: TaskClasses,
        memory: Reservoir,
        how: Replaying,
        *,
        alpha: float,
        beta: float,
    ) -> None:
        super().__init__(classes, memory, how)
        self.alpha, self.beta = alpha, beta

    def three_means(self, losses: Tensor, logits: Tensor, batch: Batch) -> Loss:
        """Return the mean loss of rows that come, plus alpha and beta times those of the draws.

        Args:
            losses: (B,) of a micro-batch by its labels; those of the first draw are not looked at.
            logits: (B, K) or (B, M, K), what the model says of it, all outputs.
            batch: The micro-batch.
        """
        self.note(logits, batch)
        if self.has_replayed:
            errors = former_logits_error(logits, self.memory.logits[self.slot_of(batch)])
            losses = losses.where(self.part_of(batch) != 1, errors)
        return self.means(losses, batch, (1.0, self.alpha, self.beta))

    def after_step(self, model: nn.Module, batch: Batch) -> None:
        """Offer the rows that came to the memory, with what was said of them in this step."""
        assert self.incoming is not None, "a step follows a draw"
        self.remember(self.incoming, self.noted())
