"""A progress bar that costs nothing between two looks at it."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

EVERY = 0.2
"""Seconds between two updates."""


def bars(title: str, time_column: ProgressColumn, *, shown: bool) -> Progress:
    """Return bars on the terminal's error stream; elsewhere their end alone is written.

    Args:
        title: What is done; it stands before each bar.
        time_column: How its time is told.
        shown: Whether to show anything.
    """
    console = Console(stderr=True)
    return Progress(
        TextColumn(f"[bold]{title}"),
        BarColumn(),
        MofNCompleteColumn(),
        time_column,
        TextColumn("{task.description}"),
        console=console,
        disable=not shown,
        transient=not console.is_terminal,
        refresh_per_second=4,
    )


class Bar:
    """The steps of a run on the terminal, with the last epoch's score.

    Args:
        total: Steps of the whole run.
        done: Steps that an earlier run has made.
        title: What trains; it stands above the bar.
        shown: Whether to show anything.
    """

    def __init__(self, total: int, done: int, title: str, *, shown: bool) -> None:
        self._progress = bars("training", TimeRemainingColumn(), shown=shown)
        if shown:
            self._progress.console.print(f"training: {title}", style="dim", highlight=False)
        self._task = self._progress.add_task("", total=total, completed=done)
        self._due = 0.0

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, done: int) -> None:
        """Move the bar, if the last move is long enough ago."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + EVERY
            self._progress.update(self._task, completed=done)

    def say(self, done: int, text: str) -> None:
        """Move the bar and put `text` beside it."""
        self._progress.update(self._task, completed=done, description=text)
