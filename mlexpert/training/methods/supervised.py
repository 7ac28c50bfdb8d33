"""A loss per example and an augmentation: all that most recipes change about training."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from mlexpert.training.method import Batch, Loss, Method, summed


class Supervised(Method):
    """The mean of a loss over the rows, by their weights where they have any.

    Args:
        loss: Maps what the model returns and the targets of the batch to losses (B,). Where it is
            a module, its buffers are the method's.
        augment: Changes the global batch before it is cut; random numbers come from torch's default
            generator. None leaves it as it is.
    """

    def __init__(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        *,
        augment: Callable[[Batch], Batch] | None = None,
    ) -> None:
        super().__init__()
        self.loss_of, self.augment = loss, augment

    def draw(self, model: nn.Module, batch: Batch) -> Batch:
        """Return the augmented batch."""
        return batch if self.augment is None else self.augment(batch)

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the weighted sum of a micro-batch's losses."""
        return summed(self.loss_of(model(batch.inputs), batch.targets), batch)
