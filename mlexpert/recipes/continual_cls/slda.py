"""Streaming LDA: running class means and one covariance on a frozen network, and the discriminants.

Every class is a Gaussian and all share a covariance, shrunk towards its mean variance; means and
covariance are updated as rows pass, and no row is kept. The head after the last task is that of
linear discriminant analysis on all rows at once, in whatever tasks they came. The covariance takes
8 F^2 bytes for F features: 5 MB for 784.

Paper: Hayes and Kanan 2020, arXiv:1909.01520, section 3.
Differs from the paper: the covariance is exactly the pooled one, whatever the order of rows, and
shrinks towards its mean variance, not towards 1; a frequent class has a larger prior. With
backbone="auto" there is no pretrained network: an image is its pixels, standardised by the first
task's mean and deviation; a table the normal scores and categories of its columns, by the first
task's quantiles; a text the bag of its words in random coordinates.
Results: benchmarks/continual/results.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mlexpert.blocks.layers.task_classes import TaskClasses
from mlexpert.blocks.statistics.class_gaussians import ClassGaussians
from mlexpert.data.schema import Schema
from mlexpert.families.solved import SolvedMethod, SolvedRecipe
from mlexpert.networks.frozen import require_room
from mlexpert.networks.heads import head_of
from mlexpert.recipe import Parts


@dataclass(frozen=True, kw_only=True)
class Slda(SolvedRecipe):
    """Linear discriminants from class means and a shared covariance of the rows that pass."""

    name: ClassVar[str] = "continual-cls/slda"
    version: ClassVar[int] = 1

    shrinkage: float = 1e-4
    """Share of the mean variance in the covariance, above 0 and at most 1; epsilon in the paper."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(0 < self.shrinkage <= 1, "shrinkage", "above 0 and at most 1")

    def build(self, schema: Schema) -> Parts:
        """Assemble the frozen network and the statistics.

        Raises:
            InputError: If the network's last layer is not linear, or memory is too small.
        """
        network, classes = self.network(schema), self.classes(schema)
        head = head_of(network.model)[2]
        assert isinstance(head, nn.Linear), "a frozen network ends in a linear layer"
        require_room(head.in_features, "take a smaller image_size, or a backbone")
        method = SldaMethod(classes, head.in_features, shrinkage=self.shrinkage)
        return self.parts(schema, network, method, classes=classes)


class SldaMethod(SolvedMethod):
    """Class means and the scatter within classes."""

    def __init__(self, classes: TaskClasses, num_features: int, *, shrinkage: float) -> None:
        super().__init__(classes, ClassGaussians(num_features, len(classes.seen)))
        self.shrinkage = shrinkage

    def solve(self) -> tuple[Tensor, Tensor]:
        """Return the discriminants' weights (K, F) and biases (K,)."""
        return self.statistics.solve(self.shrinkage)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(Slda)
