"""The record of a run: a JSON file of facts, one of JSON lines, and a tracker where asked for."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from mlexpert.errors import InputError, RunError

RUN, METRICS, HEALTH = "run.json", "metrics.jsonl", "health.jsonl"


class RunFolder:
    """A run folder under way. Reports read what is written here and nothing else.

    Args:
        path: The folder; made where it does not exist.
        facts: What `run.json` says.
        fresh: Whether to drop what an earlier run left there.
        writes: Whether this process writes; of several only the first does.

    Raises:
        InputError: If the folder cannot be written.
    """

    def __init__(
        self, path: Path, facts: dict[str, Any], *, fresh: bool = True, writes: bool = True
    ) -> None:
        self.path, self.facts, self.writes = path, facts, writes
        self._tracker: GeneralTracker | None = None
        if not writes:
            return
        try:
            if not _is_writable(path):
                raise PermissionError(13, "it is read-only")
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"The run folder {path} cannot be written: {error.strerror}. "
                "Choose another with run_dir=."
            ) from error
        if fresh:
            self._clear()
        self.update()

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints lie."""
        return self.path / "checkpoints"

    def update(self, **facts: Any) -> None:
        """Write `run.json` anew with these facts added."""
        self.facts |= facts
        if self.writes:
            write_json(self.path / RUN, self.facts)

    def start_tracker(self, name: str | None) -> None:
        """Send every row to that tracker of accelerate's too."""
        if name is not None and self.writes:
            self._tracker = LOGGER_TYPE_TO_CLASS[name]("mlexpert", logging_dir=str(self.path))
            self._tracker.start()

    def close(self) -> None:
        """Let the tracker write what it still holds."""
        if self._tracker is not None:
            self._tracker.finish()

    def log(self, row: dict[str, Any], name: str = METRICS) -> None:
        """Append one row to the JSON lines of `name`, and metrics to the tracker where one runs."""
        if not self.writes:
            return
        try:
            with (self.path / name).open("a") as file:
                file.write(json.dumps(_plain(row)) + "\n")
        except OSError as error:
            raise disk_error(self.path, error) from error
        if self._tracker is not None and name == METRICS:
            numbers = {
                f"{row['split']}/{k}": float(v)
                for k, v in row.items()
                if isinstance(v, (int, float))
            }
            self._tracker.log(numbers, step=row["step"])

    def forget_after(self, *, epoch: int, step: int) -> None:
        """Drop what was logged after that epoch and step: a resumed run does that work again."""
        if not self.writes:
            return
        for name, key, last in ((METRICS, "epoch", epoch), (HEALTH, "step", step)):
            if (self.path / name).exists():
                lines = (self.path / name).read_text().splitlines()
                kept = [line + "\n" for line in lines if _is_within(line, key, last)]
                write_text(self.path / name, "".join(kept))

    def _clear(self) -> None:
        """Drop what an earlier run left, before a fresh one."""
        files = ("final_test.json", "ledger.jsonl", "report.html", "examples.json")
        for name in (METRICS, HEALTH, *files, "importance.json"):
            (self.path / name).unlink(missing_ok=True)
        folders = ("checkpoints", "predictions", "model", "profile", "mlexpert", "examples")
        for name in (*folders, "folds"):
            shutil.rmtree(self.path / name, ignore_errors=True)


def require_tracker(name: str | None) -> None:
    """Refuse a tracker whose package is not installed.

    Raises:
        InputError: Naming what to install.
    """
    if name is not None and importlib.util.find_spec(name) is None:
        raise InputError(
            f"track={name!r} needs a package that is not installed: pip install 'mlexpert[{name}]'."
        )


def require_space(folder: Path, num_bytes: int) -> None:
    """Refuse to start what could not be written in the end.

    Raises:
        RunError: If the disk has less room; the message names both numbers.
    """
    free = shutil.disk_usage(_existing(folder)).free
    if free < num_bytes:
        raise RunError(
            f"{folder} has {free >> 20} MiB free, and checkpoints and model need about "
            f"{num_bytes >> 20} MiB. Make room, or choose another run_dir=."
        )


def _is_within(line: str, key: str, last: int) -> bool:
    """Tell whether a line was logged while training stood at `last` or before, and is not torn."""
    try:
        row = json.loads(line)
        return row[key] <= last and row.get("split") != "train_clean"
    except (ValueError, KeyError, TypeError):
        return False


def _existing(path: Path) -> Path:
    """Return the folder itself, or the nearest above it that exists."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def _is_writable(path: Path) -> bool:
    """Ask the nearest folder there is; without any write bit even root is to leave it alone."""
    existing = _existing(path)
    return os.access(existing, os.W_OK) and bool(existing.stat().st_mode & 0o222)


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader finds the old file or the new one, never half of either."""
    write_text(path, json.dumps(_plain(value), indent=1))


def write_text(path: Path, text: str) -> None:
    """Write text as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, payload: bytes) -> None:
    """Write beside `path`, then rename over it.

    Raises:
        RunError: If the disk is full or the folder cannot be written.
    """
    beside = path.with_name(f".writing-{path.name}")
    try:
        path.parent.mkdir(exist_ok=True)
        beside.write_bytes(payload)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise disk_error(path.parent, error) from error


def disk_error(folder: Path, error: OSError) -> RunError:
    """Return the error for a disk that is full or read-only."""
    return RunError(
        f"{folder} could not be written: {error.strerror}. Make room, or choose another run_dir=."
    )


def _plain(value: Any) -> Any:
    """JSON knows no NaN, no tuples as keys and no numpy scalars."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    return _plain(value.item())
