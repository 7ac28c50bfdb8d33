"""What recipes share that keep rows and replay them: how many are kept, and how many are drawn."""

from __future__ import annotations

from dataclasses import dataclass

from mlexpert.families.continual import ContinualRecipe
from mlexpert.training.methods.replay import Replaying


@dataclass(frozen=True, kw_only=True)
class ReplayRecipe(ContinualRecipe):
    """A recipe with a memory of training rows."""

    buffer_size: int = 1000
    """Rows that are kept, of all tasks together."""
    replay_size: int | None = None
    """Rows that are drawn from the memory at each step, beside `batch_size` rows of the task. None:
    as many."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(self.buffer_size >= 1, "buffer_size", "at least 1")
        self.require(self.replay_size is None or self.replay_size >= 1, "replay_size", "at least 1")

    def replaying(self) -> Replaying:
        """Return how rows are masked, changed and drawn."""
        by_task = self.scenario == "task"
        return Replaying(by_task, augment=self.augmentation(), size=self.replay_size)
