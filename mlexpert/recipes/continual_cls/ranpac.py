"""RanPAC: ridge regression on random features of a frozen network, exact whatever the order.

Features pass a wide random layer with a ReLU; what they say of each class is added up, and the head
is the ridge solution of the sums. Nothing is trained by gradients and no row is kept, so nothing is
forgotten: the head after the last task is the one of all rows at once, in whatever tasks they came.
The matrix of the sums takes 8 P^2 bytes for P features, 32 MB for 2,000 and 200 MB for 5,000.

Paper: McDonnell et al. 2023, arXiv:2307.02251, equations 5 to 9, without its first-task adapters.
Differs from the paper: the penalty is the minimum of generalised cross-validation, a function of
the same sums, where the paper holds out rows of each task; 2,000 random features, not 10,000. With
backbone="auto" there is no pretrained network: an image is its pixels, standardised by the first
task's mean and deviation; a table the normal scores and categories of its columns, by the first
task's quantiles; a text the bag of its words in random coordinates.
Results: benchmarks/continual/results.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mlexpert.blocks.layers.random_features import RandomFeatures
from mlexpert.blocks.layers.task_classes import TaskClasses
from mlexpert.blocks.statistics.ridge import RidgeStatistics
from mlexpert.data.schema import Schema
from mlexpert.families.solved import SolvedMethod, SolvedRecipe
from mlexpert.networks.frozen import require_room
from mlexpert.networks.heads import head_of, replace_head
from mlexpert.recipe import Parts


@dataclass(frozen=True, kw_only=True)
class RanPac(SolvedRecipe):
    """Ridge regression on random features, from sums over the rows that pass."""

    name: ClassVar[str] = "continual-cls/ranpac"
    version: ClassVar[int] = 1

    num_features: int = 2000
    """Random features, P; M in the paper, which has 10,000. Memory grows with its square, and time
    at a task's end with its cube: 2 seconds for 2,000 and half a minute for 5,000 on one core."""
    penalty: float | None = None
    """Penalty on the squared weights, lambda in the paper, in units of a squared feature summed
    over all rows. None: chosen after each task by generalised cross-validation."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(self.num_features >= 1, "num_features", "at least 1")
        penalty = self.penalty is None or 0 < self.penalty < math.inf
        self.require(penalty, "penalty", "a number above 0, or None")

    def build(self, schema: Schema) -> Parts:
        """Assemble the frozen network, the random layer and the sums.

        Raises:
            InputError: If the network's last layer is not linear, or memory is too small.
        """
        require_room(self.num_features, "take a smaller num_features")
        network, classes = self.network(schema), self.classes(schema)
        head = head_of(network.model)[2]
        assert isinstance(head, nn.Linear), "a frozen network ends in a linear layer"
        solved = nn.Linear(self.num_features, schema.num_classes, bias=False)
        random = RandomFeatures(head.in_features, self.num_features)
        replace_head(network.model, nn.Sequential(random, solved))
        method = RanPacMethod(classes, self.num_features, penalty=self.penalty)
        return self.parts(schema, network, method, classes=classes)


class RanPacMethod(SolvedMethod):
    """Sums of products of random features with themselves and with one-hot targets."""

    def __init__(self, classes: TaskClasses, num_features: int, *, penalty: float | None) -> None:
        super().__init__(classes, RidgeStatistics(num_features, len(classes.seen)))
        self.penalty = penalty

    def solve(self) -> tuple[Tensor, None]:
        """Return the ridge solution (K, P), which has no bias."""
        return self.statistics.solve(self.penalty)[0], None


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(RanPac)
