"""Tau-normalisation: train plainly, then divide each logit by a power of its weights' norm.

Weights of frequent classes grow longer, where there are three or more. Decisions follow the logits
of w_k / ||w_k||^tau without bias; probabilities stay those of the network as it was trained,
calibrated.

Paper: Kang et al. 2020, arXiv:1910.09217, section 4.2, equation 4.
Differs from the paper: weights are centred over the classes first; tau is 0.7 where a class has
fewer than 50 validation rows, and tuned above that. An ensemble has the mean norms of its members.
Results: benchmarks/imbalanced_cls/results.md
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mlexpert.blocks.decisions.tau_normalized import TauNormalized
from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.data.schema import Schema
from mlexpert.errors import InputError
from mlexpert.families.classification import ClassificationRecipe
from mlexpert.networks.heads import head_of, weights_of
from mlexpert.recipe import Parts
from mlexpert.training.method import Batch, Task
from mlexpert.training.methods.supervised import Supervised
from mlexpert.training.sharding import whole


@dataclass(frozen=True, kw_only=True)
class TauNorm(ClassificationRecipe):
    """Plain cross-entropy, and a decision without the norms of the head's weights."""

    name: ClassVar[str] = "imbalanced-cls/tau-norm"
    version: ClassVar[int] = 1

    def accept(self, schema: Schema) -> None:
        """Refuse data that the recipe is not for, such as two classes."""
        super().accept(schema)
        if schema.num_classes < 3:
            raise InputError(
                f"{self.name} takes out how much longer the weights of one class are than those of "
                f"another, and there are {schema.num_classes} classes: the weights of two are "
                "opposite, and as long. Take imbalanced-cls."
            )

    def build(self, schema: Schema) -> Parts:
        """Assemble network, cross-entropy and the normalised decision.

        Raises:
            InputError: If the network's last layer is not linear.
        """
        network = self.network(schema)
        head_of(network.model)
        decide = TauNormalized(schema.num_classes)
        method = TauNormMethod(decide, augment=self.augmentation())
        return self.parts(schema, network, method, decide=decide)


class TauNormMethod(Supervised):
    """Cross-entropy, after which a decision rule reads the head that was trained."""

    def __init__(self, decide: TauNormalized, *, augment: Callable[[Batch], Batch]) -> None:
        super().__init__(cross_entropy, augment=augment)
        # The rule is no part of the method and stays where it is; a copy of the method, unlike one
        # of a bound `decide.read`, does not copy it.
        self.read = lambda weight, bias: decide.read(weight, bias)

    def end_task(self, model: nn.Module, task: Task) -> None:
        """Take over the norms and biases of the weights that are kept."""
        weight, bias = weights_of(head_of(model)[2])
        self.read(whole(weight), whole(bias))


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(TauNorm)
