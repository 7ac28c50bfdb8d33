"""Classifier re-training (cRT): features from the natural data, a head from balanced classes.

Features are best learned from the rows as they are; only the head leans towards frequent classes.
So the network is trained plainly, then its features are frozen and a new head is trained on them
with every class as often as another. Probabilities are put back to the natural prior.

Paper: Kang et al. 2020, arXiv:1910.09217, section 4.1; sampling by equation 1 with q = 0.
Differs from the paper: the new head starts from the first weights of the old one; the features are
those of the first stage's best epoch, and the best epoch of the second is kept; statistics of
BatchNorm stay those of the first.
Results: benchmarks/imbalanced_cls/results.md
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from torch import nn

from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.blocks.samplers.class_balanced import balanced_log_weight, class_balanced
from mlexpert.blocks.scores import classification_scores
from mlexpert.data.schema import Schema
from mlexpert.families.classification import ClassificationRecipe
from mlexpert.networks.heads import head_of
from mlexpert.recipe import Parts
from mlexpert.training.method import Batch, Task
from mlexpert.training.methods.supervised import Supervised
from mlexpert.training.plan import Stage
from mlexpert.training.sharding import like


@dataclass(frozen=True, kw_only=True)
class Crt(ClassificationRecipe):
    """Plain cross-entropy, then a new head on balanced classes."""

    name: ClassVar[str] = "imbalanced-cls/crt"
    version: ClassVar[int] = 1

    head_epochs: int = 10
    """Epochs of the second stage, in which the head alone is trained, after `epochs` of the
    first."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(self.head_epochs >= 1, "head_epochs", "at least 1")

    def build(self, schema: Schema) -> Parts:
        """Assemble network, cross-entropy and the second stage.

        Raises:
            InputError: If the network's last layer is not linear.
        """
        network = self.network(schema)
        model, head = network.model, head_of(network.model)[2]
        log_weight = balanced_log_weight(schema.class_counts)
        method = CrtMethod(model, augment=self.augmentation())
        parts = self.parts(schema, network, method, log_weight=log_weight)
        second = Stage(
            self.head_epochs,
            replace(self, layer_decay=1.0).optimizer(head, schema),
            self.schedule(schema),
            order=class_balanced,
            # What holds the head, as its last part, computes as in training; none of it moves.
            frozen=tuple(part for part in model.modules() if head not in set(part.modules())),
            evaluate=parts.evaluate,
        )
        natural = partial(classification_scores, decide=parts.decide.decide)
        return replace(parts, evaluate=natural, stages=(second,))


class CrtMethod(Supervised):
    """Cross-entropy, of whose model the head begins anew in the second task."""

    def __init__(self, model: nn.Module, *, augment: Callable[[Batch], Batch]) -> None:
        super().__init__(cross_entropy, augment=augment)
        self.first = copy.deepcopy(head_of(model)[2]).requires_grad_(False)

    def begin_task(self, model: nn.Module, task: Task) -> None:
        """Give the head its first weights back."""
        if task.number == 1:
            head = head_of(model)[2]
            first, there = self.first.state_dict(), head.state_dict()
            head.load_state_dict({name: like(first[name], there[name]) for name in first})


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(Crt)
