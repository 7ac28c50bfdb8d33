"""The run folder of a fit: a new one, one to go on with, or none: it holds something else."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlexpert import __version__
from mlexpert.environment import environment, packages
from mlexpert.errors import InputError, RunError
from mlexpert.recipe import Recipe
from mlexpert.training.precision import Engine
from mlexpert.training.tracking import RUN, RunFolder, require_space

NEEDED = {"recipe", "version", "config", "data", "status"}
"""What `run.json` says of every run, finished or not."""


def new_run_dir(recipe: Recipe) -> Path:
    """Return a folder under `runs/` that does not exist yet, named after recipe and time."""
    stem = f"{recipe.name.replace('/', '-')}-{datetime.now().strftime('%Y%m%d-%H%M%S')}"
    path, number = Path("runs") / stem, 2
    while path.exists():
        path, number = Path("runs") / f"{stem}-{number}", number + 1
    return path


def is_finished(path: Path, facts: dict[str, Any]) -> bool:
    """Return whether the folder holds this very run, finished; refuse one that holds another.

    Raises:
        InputError: If the folder holds another run, or something that is no run.
    """
    earlier = earlier_run(path)
    if earlier is None:
        return False
    facts = json.loads(json.dumps(facts))
    differences = []
    for name in ("recipe", "version", "source_hash", "config", "folds"):
        differences += _differences(name, earlier.get(name), facts.get(name))
    differences += _differences("stream", _stream(earlier), _stream(facts))
    for name in ("fingerprint", "split_fingerprint"):
        differences += _differences(f"data.{name}", earlier["data"].get(name), facts["data"][name])
    weights = (earlier["data"].get("weights"), facts["data"].get("weights"))
    differences += _differences("data.weights", *weights)
    finished = earlier["status"] == "finished"
    if finished:  # one that goes on takes them up; a finished one was judged by what it has
        differences += _differences("criteria", earlier.get("criteria"), facts["criteria"])
        differences += _differences("subgroups", _subgroups(earlier), _subgroups(facts))
    if differences:
        raise InputError(
            f"{path} holds another run; it differs in {'; '.join(differences)}. "
            "Choose another run_dir=, or start anew there with fresh=True (--fresh)."
        )
    return finished


def earlier_run(path: Path) -> dict[str, Any] | None:
    """Return what `run.json` says of an earlier run in this folder, or None where it is empty.

    Raises:
        InputError: If the folder holds something that is no run; it is left alone.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return None
    if not (path / RUN).is_file():
        raise InputError(
            f"{path} exists and is not a run folder ({RUN} is missing); it is left alone. "
            "Choose another run_dir=."
        )
    try:
        facts = json.loads((path / RUN).read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path / RUN} cannot be read ({error}); choose another run_dir=."
        ) from error
    if not (isinstance(facts, dict) and facts.keys() >= NEEDED and isinstance(facts["data"], dict)):
        raise InputError(f"{path / RUN} does not describe a run; choose another run_dir=.")
    return facts


def open_run(
    path: Path,
    facts: dict[str, Any],
    engine: Engine,
    *,
    fresh: bool,
    num_bytes: int = 0,
) -> RunFolder:
    """Make the run folder, or take up the one that an unfinished run of the same kind left.

    Args:
        path: The folder.
        facts: What makes this run this run, and what else its record says from the start.
        engine: What it will be computed on.
        fresh: Start anew in a folder that holds another run.
        num_bytes: What will be written into it; there has to be room.

    Raises:
        InputError: If the folder cannot be written, or holds something that is no run.
        RunError: If the disk has no room.
    """
    earlier = engine.processes.first_does(lambda: earlier_run(path))
    require_space(path, num_bytes)
    about = {
        **facts,
        "mlexpert": __version__,
        "packages": packages(),
        "environment": {
            **environment(),
            "device": str(engine.device),
            "processes": engine.processes.count,
            "sharded": engine.is_sharded,
        },
        "status": "running",
        "started": now() if earlier is None or fresh else earlier.get("started"),
    }
    fresh = fresh or earlier is None
    return RunFolder(path, about, fresh=fresh, writes=engine.processes.is_first)


def note(folder: RunFolder, **facts: Any) -> None:
    """Write how a run ended, where the disk still takes it: the error itself says more."""
    with suppress(RunError):
        folder.update(**facts)


def now() -> str:
    """Return the time in UTC, in seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _stream(facts: dict[str, Any]) -> dict[str, Any]:
    """Return what a stream is, without what runs before wrote down of it, seconds and all."""
    return {k: v for k, v in facts.get("stream", {}).items() if k != "before"}


def _subgroups(facts: dict[str, Any]) -> list[str]:
    named = facts["data"].get("roles", {}).get("subgroups") or []
    return [named] if isinstance(named, str) else named


def _differences(name: str, before: Any, now: Any) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            difference
            for key in sorted(before.keys() | now.keys())
            for difference in _differences(f"{name}.{key}", before.get(key), now.get(key))
        ]
    return [] if before == now else [f"{name}: {_short(before)} there, {_short(now)} here"]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}…"
