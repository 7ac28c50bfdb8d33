"""Experience replay: a small sample of all rows so far is trained on along with those that come.

The memory is a reservoir: each row of the stream is as likely to be in it as any other. The t-th
task has 1/t of the loss and the memory the rest, so that all tasks weigh alike; without boundaries,
each has one half.

Papers: Chaudhry et al. 2019, arXiv:1902.10486, algorithm 1 with a reservoir; the loss is that of
van de Ven et al. 2022, doi:10.1038/s42256-022-00568-3, equation 14.
Differs from the papers: rows of the task under way are in the memory too. BatchNorm has one pass
over rows that come and rows that are drawn. In the first task nothing is drawn, unless
`replay_share` is given.
Results: benchmarks/continual/results.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mlexpert.blocks.layers.task_classes import TaskClasses
from mlexpert.blocks.replay.reservoir import Reservoir
from mlexpert.data.schema import Schema
from mlexpert.families.replay import ReplayRecipe
from mlexpert.recipe import Parts
from mlexpert.training.method import Batch, Loss
from mlexpert.training.methods.replay import Replay, Replaying


@dataclass(frozen=True, kw_only=True)
class Er(ReplayRecipe):
    """Cross-entropy on the rows that come and on rows of a reservoir."""

    name: ClassVar[str] = "continual-cls/er"
    version: ClassVar[int] = 1

    replay_share: float | None = None
    """Share of the loss that replayed rows have, from 0 to below 1. None: 1 - 1/t in the t-th task,
    one half without boundaries."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        is_share = self.replay_share is None or 0 <= self.replay_share < 1
        self.require(is_share, "replay_share", "from 0 to below 1, or None")

    def build(self, schema: Schema) -> Parts:
        """Assemble network, cross-entropy and memory."""
        network, classes = self.network(schema), self.classes(schema)
        share = 0.5 if self.replay_share is None and not self.boundaries else self.replay_share
        method = ErMethod(classes, Reservoir(self.buffer_size), self.replaying(), share=share)
        return self.parts(schema, network, method, classes=classes)


class ErMethod(Replay):
    """(1 - s) times the mean over rows that come, plus s times the mean over rows of the memory.

    Args:
        classes: Which were met.
        memory: Where rows are kept.
        how: How rows are masked, changed and drawn.
        share: s. None: 1 - 1/t in the t-th task.
    """

    def __init__(
        self,
        classes: TaskClasses,
        memory: Reservoir,
        how: Replaying,
        *,
        share: float | None = None,
    ) -> None:
        super().__init__(classes, memory, how)
        self.fixed = share

    def share(self) -> float:
        """Return the share of the loss that replayed rows have, where there are any."""
        return 1 - 1 / (self.number + 1) if self.fixed is None else self.fixed

    def wants_replay(self) -> bool:
        """Return whether rows that are drawn would count."""
        return super().wants_replay() and self.share() > 0

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the weighted mean of both means, as a loss of this piece."""
        losses = self.cross_entropy(model(batch.inputs), batch.targets)
        share = self.share() if self.has_replayed else 0.0
        return self.means(losses, batch, (1 - share, share))


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(Er)
