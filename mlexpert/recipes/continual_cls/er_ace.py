"""ER-ACE: rows that come are told apart from each other alone, rows of the memory from all classes.

A new class is first met with features that lie among those of old ones. Pushing these away at once
is what spoils them; here only replayed rows, in which classes are mixed, do that. It needs no
boundaries between tasks.

Paper: Caccia et al. 2022, arXiv:2104.05025, equation 4.
Differs from the paper: it acts alike in the first task. BatchNorm has one pass over rows that come
and rows that are drawn. With the task told, both losses are over the classes of the row's task. A
class that comes alone in a step is told apart from all.
Results: benchmarks/continual/results.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.blocks.replay.reservoir import Reservoir
from mlexpert.data.schema import Schema
from mlexpert.families.replay import ReplayRecipe
from mlexpert.recipe import Parts
from mlexpert.training.method import Batch, Loss
from mlexpert.training.methods.replay import Replay


@dataclass(frozen=True, kw_only=True)
class ErAce(ReplayRecipe):
    """Asymmetric cross-entropy on the rows that come and on rows of a reservoir."""

    name: ClassVar[str] = "continual-cls/er-ace"
    version: ClassVar[int] = 1

    def build(self, schema: Schema) -> Parts:
        """Assemble network, cross-entropy and memory."""
        network, classes = self.network(schema), self.classes(schema)
        method = ErAceMethod(classes, Reservoir(self.buffer_size), self.replaying())
        return self.parts(schema, network, method, classes=classes)


class ErAceMethod(Replay):
    """The mean over rows that come plus the mean over rows of the memory, each over its classes."""

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the sum of both means, as a loss of this piece."""
        logits = self.among_incoming(self.masked(model(batch.inputs), batch.targets), batch)
        losses = cross_entropy(logits, batch.targets)
        return self.means(losses, batch, (1.0, 1.0))


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(ErAce)
