"""Class weights that begin late in training: features are learned from the rows as they are.

Paper: Cao et al. 2019, arXiv:1906.07413, section 3.3 (deferred re-weighting, DRW).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mlexpert.training.method import Batch, Loss, Task, summed
from mlexpert.training.methods.supervised import Supervised


class Deferred(Supervised):
    """The mean of a loss over the rows and, once enough rows were seen, by weights of the classes.

    Args:
        loss: Maps what the model returns and the targets of the batch to losses (B,).
        class_weight: (K,) weights. Their mean over the training rows should be 1, so that losses
            keep their scale and are divided by a count that does not depend on which classes a
            batch happens to hold.
        start: Rows trained on after which the weights begin, each epoch's counted again.
        augment: As in `Supervised`.
    """

    class_weight: Tensor
    rows_seen: Tensor

    def __init__(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        *,
        class_weight: Tensor,
        start: int,
        augment: Callable[[Batch], Batch] | None = None,
    ) -> None:
        super().__init__(loss, augment=augment)
        self.start = start
        self.register_buffer("class_weight", class_weight.float())
        self.register_buffer("rows_seen", torch.tensor(0))

    def begin_task(self, model: nn.Module, task: Task) -> None:
        """Count anew."""
        self.rows_seen.zero_()

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the weighted sum of a micro-batch's losses."""
        losses = self.loss_of(model(batch.inputs), batch.targets)
        # Without a look at the number, for which a GPU would have to be waited for.
        weight = torch.where(self.rows_seen >= self.start, self.class_weight, 1.0)
        targets = batch.targets
        of_row = weight[targets] if targets.ndim == 1 else targets.float() @ weight
        return summed(losses * of_row, batch)

    def after_step(self, model: nn.Module, batch: Batch) -> None:
        """Count the rows of a step."""
        super().after_step(model, batch)
        self.rows_seen += len(batch)
