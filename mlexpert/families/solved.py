"""What recipes share that train nothing: a frozen network, whose head is solved for in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.task_classes import TaskClasses
from mlexpert.blocks.reaching import reaching
from mlexpert.data.schema import Schema
from mlexpert.errors import InputError
from mlexpert.families.continual import ContinualRecipe
from mlexpert.networks.frozen import frozen_network
from mlexpert.networks.heads import head_of
from mlexpert.recipe import Encoded, Network, Parts
from mlexpert.training.method import Batch, Task
from mlexpert.training.methods.continual import ContinualMethod
from mlexpert.training.plan import Stretch


@dataclass(frozen=True, kw_only=True)
class SolvedRecipe(ContinualRecipe):
    """A recipe that adds up what is known of the rows as they pass, and solves for the head."""

    epochs: int | None = 1
    """Of no effect: every row is looked at once, at the end of its task."""
    backbone: str = "auto"
    """What makes the features. auto: standardised pixels (images), columns (tables), or a bag of
    words in random coordinates (text), without any trained weights. Or the name of a timm model for
    images, the name or folder of a transformers encoder for text."""
    pretrained: bool = False
    """Give a timm model its published weights, without which it is refused: it would be a random
    network. Needs a hub within reach. An encoder for text always has them."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        for name in ("depth", "shift"):
            self.require(not getattr(self, name), name, "None: features are those of the rows")
        self.require(not self.flip, "flip", "False: features are those of the rows")
        self.require(not self.ema, "ema", "None or 0: there are no steps to average over")
        self.require(self.backbone != "mlp", "backbone", "'auto', or a network that was trained")

    def network(self, schema: Schema) -> Network:
        """Return the frozen network for this kind of input.

        Raises:
            InputError: If the backbone is not known for it, or was not trained.
        """
        if schema.kind == "image" and self.backbone != "auto" and not self.pretrained:
            raise InputError(
                f"{self.name}: backbone={self.backbone!r} stays as it is, and has to have been "
                "trained; set pretrained=True."
            )
        return frozen_network(
            schema,
            backbone=self.backbone,
            image_size=self.image_size,
            pretrained=self.pretrained,
            max_length=self.max_length,
        )

    def stretches(self, parts: Parts, schema: Schema, rows: Encoded) -> tuple[Stretch, ...]:
        """Return a stretch for each task, in which no gradient step is made."""
        return tuple(stretch.without_steps() for stretch in super().stretches(parts, schema, rows))


class SolvedMethod(ContinualMethod):
    """Adds a task's rows to statistics at its end, and writes the head that these give.

    Args:
        classes: Which were met.
        statistics: Has `add(features, targets, weights)` and `nbytes`.
    """

    def __init__(self, classes: TaskClasses, statistics: Any) -> None:
        super().__init__(classes, by_task=False)
        self.statistics = statistics

    def solve(self) -> tuple[Tensor, Tensor | None]:
        """Return weights (K, F) and biases (K,), or None, of the head."""
        raise NotImplementedError

    @torch.no_grad()
    def end_task(self, model: nn.Module, task: Task) -> None:
        """Look at the rows of the task once."""
        assert task.batches is not None, "the trainer gives a task's end its rows"
        head = head_of(model)[2]
        assert isinstance(head, nn.Linear), "a frozen network ends in a linear layer"
        for batch in task.batches():
            self.take(reaching(head, model, batch.inputs), batch)
        weight, bias = self.solve()
        head.weight.copy_(weight)
        if bias is not None:
            head.bias.copy_(bias)

    def take(self, features: Tensor, batch: Batch) -> None:
        """Add a batch's rows, whose features (B, F) are given."""
        self.classes.see(batch.targets, self.number)
        self.statistics.add(features, batch.targets, batch.weights)
