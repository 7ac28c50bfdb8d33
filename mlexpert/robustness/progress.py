"""Progress of attacks on the terminal: a bar for each, as it begins."""

from __future__ import annotations

from types import TracebackType

from rich.progress import TaskID, TimeElapsedColumn

from mlexpert.training.progress import bars


class AttackProgress:
    """The attacks under way, each with the rows that it has seen.

    Args:
        shown: Whether to show anything.
    """

    def __init__(self, *, shown: bool) -> None:
        self._progress = bars("attacking", TimeElapsedColumn(), shown=shown)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> AttackProgress:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, name: str, done: int, total: int) -> None:
        """Move the bar of an attack, which appears where it is new."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total)
        self._progress.update(self._tasks[name], completed=done, total=total)
