"""A saved model: safetensors and JSON, each file with its digest, and nothing that executes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from mlexpert import recipes
from mlexpert.blocks.backbones.restoring import restoring
from mlexpert.data.schema import Schema, schema_from_json, schema_to_json
from mlexpert.errors import InputError, RunError
from mlexpert.recipe import Parts, Recipe
from mlexpert.recipe_card import hash_of, source_hash
from mlexpert.training.checkpoint import write_tensors

FORMAT = 1
CARD, WEIGHTS = "model.json", "weights.safetensors"
PICKLES = {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".ckpt", ".dill"}


@dataclass(frozen=True)
class SavedModel:
    """What a model folder holds, once it has been found whole."""

    recipe: Recipe
    schema: Schema
    parts: Parts
    facts: dict[str, Any]


def save_model(
    folder: Path, recipe: Recipe, schema: Schema, parts: Parts, facts: dict[str, Any]
) -> None:
    """Write a model folder beside `folder`, then rename it into place.

    Args:
        folder: Where to; it may not exist yet, or hold an earlier model.
        recipe: The settled recipe.
        schema: What the model was built for.
        parts: Network and decision, trained.
        facts: Further facts for the card, JSON-able: package version, data fingerprint, roles.

    Raises:
        InputError: If `folder` holds something that is not a model.
        RunError: If the disk is full or read-only.
    """
    folder = folder.absolute()
    if folder.exists() and not _may_replace(folder):
        raise InputError(
            f"{folder} exists and is not a saved model; it is left alone. Save to another folder."
        )
    beside = folder.with_name(f".writing-{folder.name}")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        write_tensors(beside / WEIGHTS, _tensors(parts))
        for name, write in parts.network.companions.items():
            write(beside / name)
        card = {
            "format": FORMAT,
            "recipe": recipe.name,
            "version": recipe.version,
            "config": recipe.config(),
            "changed_copy": _is_changed_copy(recipe),
            "schema": schema_to_json(schema),
            **facts,
            "files": {path: _digest(beside / path) for path in _files(beside)},
        }
        card["digest"] = _card_digest(card)
        (beside / CARD).write_text(json.dumps(card, indent=1))
        if folder.exists():
            shutil.rmtree(folder)
        beside.rename(folder)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise RunError(
            f"The model could not be saved to {folder}: {error.strerror}. Choose another folder."
        ) from error


def load_model(folder: Path, recipe_class: type[Recipe] | None = None) -> SavedModel:
    """Check a model folder and build its model.

    Args:
        folder: A folder that `save_model` wrote.
        recipe_class: The class of a copied recipe; None looks the recipe up in the catalogue.

    Raises:
        InputError: If a file is missing, altered, foreign or a pickle, or the recipe's version is
            not in this package.
    """
    card = _checked_card(folder)
    recipe_class = recipe_class or _from_catalogue(card)
    if (recipe_class.name, recipe_class.version) != (card["recipe"], card["version"]):
        raise InputError(
            f"{folder} was trained by {card['recipe']}@{card['version']}, "
            f"and recipe= is {recipe_class.name}@{recipe_class.version}."
        )
    known = (field.name for field in dataclasses.fields(recipe_class))
    recipes.check_fields(recipe_class.name, card["config"], known)
    recipe = recipe_class(**card["config"])
    schema = schema_from_json(card["schema"])
    with restoring(folder), torch.random.fork_rng():  # random weights, which are loaded over
        parts = recipe.build(schema)
    tensors = load_tensors((folder / WEIGHTS).read_bytes())
    _fill(parts.network.model, "model.", tensors)
    _fill(parts.decide, "decide.", tensors)
    parts.network.model.eval()
    return SavedModel(recipe, schema, parts, card)


def _may_replace(folder: Path) -> bool:
    """Tell whether a folder is empty, or holds a saved model and nothing besides."""
    if not folder.is_dir():
        return False
    files = _files(folder)
    try:
        card = json.loads((folder / CARD).read_text()) if files else None
        return card is None or (
            card["digest"] == _card_digest(card) and set(files) <= {CARD, *card["files"]}
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _tensors(parts: Parts) -> dict[str, Tensor]:
    tensors = {f"model.{name}": value for name, value in parts.network.model.state_dict().items()}
    tensors |= {f"decide.{name}": value for name, value in parts.decide.state_dict().items()}
    return tensors


def _fill(module: nn.Module, prefix: str, tensors: dict[str, Tensor]) -> None:
    state = {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            f"The weights do not fit the model that the card describes: {error}"
        ) from error


def _checked_card(folder: Path) -> dict[str, Any]:
    if not (folder / CARD).is_file():
        found = (
            ", ".join(sorted(path.name for path in folder.iterdir())[:5])
            if folder.is_dir()
            else "no such folder"
        )
        raise InputError(
            f"{folder} is not a saved model: {CARD} is missing ({found or 'it is empty'})."
        )
    pickles = [name for name in _files(folder) if _is_pickle(folder / name)]
    if pickles:
        raise InputError(
            f"{folder} holds {pickles[0]}, which is or may be a pickle: loading one runs whatever "
            "code is in it. A saved model has none; do not load it, and find out who put it there."
        )
    try:
        card = json.loads((folder / CARD).read_text())
        whole = card["digest"] == _card_digest(card)
        listed: dict[str, str] = card["files"]
    except (ValueError, KeyError, TypeError):
        whole, listed = False, {}
    if not whole:
        raise InputError(
            f"{folder / CARD} was altered or torn since it was saved. Save the model again."
        )
    if card["format"] != FORMAT:
        raise InputError(
            f"{folder} is written in format {card['format']}, and this version reads {FORMAT}. "
            f"Install the version that wrote it: pip install mlexpert=={card['mlexpert']}."
        )
    present = set(_files(folder)) - {CARD}
    for problem, names in (
        ("is missing", set(listed) - present),
        ("was not saved with it", present - set(listed)),
    ):
        if names:
            raise InputError(f"{folder} is not as it was saved: {sorted(names)[0]} {problem}.")
    altered = [name for name, digest in listed.items() if _digest(folder / name) != digest]
    if altered:
        raise InputError(
            f"{folder} is not as it was saved: {altered[0]} was altered (another digest)."
        )
    return card


def _from_catalogue(card: dict[str, Any]) -> type[Recipe]:
    wanted = f"{card['recipe']}@{card['version']}"
    if card["changed_copy"]:
        raise InputError(
            f"This model was trained by a copy of {wanted} that was changed: pass its class, "
            "mlexpert.load(folder, recipe=YourRecipe), or on the command line --recipe FILE."
        )
    try:
        return recipes.recipe_class(wanted)
    except InputError as error:
        raise InputError(
            f"This model was trained by {wanted}, which is not in this catalogue. Install "
            f"the version that trained it (pip install mlexpert=={card['mlexpert']}), or, for a "
            "copied recipe, pass its class: mlexpert.load(folder, recipe=YourRecipe)."
        ) from error


def _is_changed_copy(recipe: Recipe) -> bool:
    """Tell whether the recipe goes by a name of the catalogue without being what stands there."""
    own = hash_of(type(recipe))
    rows = [
        row for row in recipes.CATALOGUE if (row.name, row.version) == (recipe.name, recipe.version)
    ]
    return any(source_hash(row.file) != own for row in rows)


def _files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def _is_pickle(path: Path) -> bool:
    """Tell a pickle by its ending, its first opcode (protocol 2 on), or torch's zip."""
    with path.open("rb") as file:
        start = file.read(4)
    magic = len(start) > 1 and start[0] == 0x80 and 2 <= start[1] <= 5
    return path.suffix.lower() in PICKLES or (
        path.suffix != ".safetensors" and (magic or start == b"PK\x03\x04")
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _card_digest(card: dict[str, Any]) -> str:
    rest = {key: value for key, value in card.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
