"""The folder of a comparison: where its runs lie, what it says so far, and going on with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mlexpert import __version__
from mlexpert.comparing.comparison import COMPARISON, read_comparison
from mlexpert.comparing.entrants import Entrant
from mlexpert.errors import InputError
from mlexpert.recipe_card import hash_of
from mlexpert.storage.run_dir import now
from mlexpert.training.tracking import write_json


@dataclass
class ComparisonFolder:
    """The folder of a comparison and what its `comparison.json` says so far."""

    path: Path
    facts: dict[str, Any]

    def place(self, one: Entrant, seed: int) -> Path:
        """Return the run folder of a recipe and seed."""
        return self.path / one.folder / str(seed)

    def note(self, run: dict[str, Any]) -> None:
        """Write down how a run ended."""
        self.update(runs=[*self.facts["runs"], run])

    def update(self, **facts: Any) -> None:
        """Write further facts."""
        self.facts |= facts
        write_json(self.path / COMPARISON, self.facts)


def new_folder(names: Sequence[str]) -> Path:
    """Return a folder below `runs/` that is not there yet, named by family and time."""
    families = {name.split("/")[0] for name in names}
    what = f"-{families.pop()}" if len(families) == 1 else ""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in what)
    stem = f"compare{safe}-{datetime.now().strftime('%Y%m%d-%H%M%S')}"
    path, number = Path("runs") / stem, 2
    while path.exists():
        path, number = Path("runs") / f"{stem}-{number}", number + 1
    return path


def identity_of(one: Entrant) -> dict[str, Any]:
    """Return what makes a recipe of the comparison this one."""
    recipe = one.recipe
    config = {name: value for name, value in recipe.config().items() if name != "seed"}
    return {
        "recipe": recipe.name,
        "version": recipe.version,
        "source_hash": hash_of(type(recipe)),
        "config": config,
        "folder": one.folder,
    }


def gone_on_with(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a new comparison, or of one that is gone on with in this folder.

    Raises:
        InputError: If the folder holds something else, or a comparison of other data or settings.
    """
    known = {**about, "mlexpert": __version__, "status": "running", "started": now(), "runs": []}
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return known
    earlier = read_comparison(path)
    differences = []
    if earlier["data"]["fingerprint"] != about["data"]["fingerprint"]:
        differences.append("the data")
    if earlier["data"]["roles"] != _as_json(about["data"]["roles"]):
        differences.append("the roles of the columns")
    for name, one in about["recipes"].items():
        before = earlier["recipes"].get(name)
        if before is None:
            continue
        one = _as_json(one)
        for key in ("recipe", "version", "source_hash"):
            if before[key] != one[key]:
                differences.append(f"{key} of {name}")
        for field in sorted(before["config"].keys() | one["config"].keys()):
            there, here = before["config"].get(field), one["config"].get(field)
            if there != here:
                differences.append(f"{name}: {field} is {there} there, {here} here")
    if differences:
        raise InputError(
            f"{path} holds another comparison; it differs in {'; '.join(differences)}. "
            "Choose another run_dir."
        )
    return {**known, "started": earlier["started"]}


def _as_json(value: Any) -> Any:
    """Return a value as it comes back from JSON."""
    if isinstance(value, Mapping):
        return {str(key): _as_json(one) for key, one in value.items()}
    return [_as_json(one) for one in value] if isinstance(value, list | tuple) else value
