"""A saved model: safetensors and JSON, each file with its digest, and nothing that executes."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from dataclasses import dataclass, replace
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
from mlexpert.storage.model_files import WEIGHTS, checked_card, may_replace, write_card
from mlexpert.training.checkpoint import write_tensors


@dataclass(frozen=True)
class SavedModel:
    """What a model folder holds, once it has been found whole.

    Attributes:
        recipe: The settled recipe.
        schema: What the model was built for.
        parts: Network and decision, trained; of an ensemble the decision alone counts.
        facts: Further facts on the card, JSON-able: package version, data fingerprint, roles.
        members: The models of an ensemble; none where this is a single one.
    """

    recipe: Recipe
    schema: Schema
    parts: Parts
    facts: dict[str, Any]
    members: tuple[SavedModel, ...] = ()


def save_model(folder: Path, model: SavedModel) -> None:
    """Write a model folder beside `folder`, then rename it into place.

    An earlier model is moved aside before and deleted after that: a kill at any time leaves one of
    the two whole, here or in `.replaced-...` beside it.

    Args:
        folder: Where to; it may not exist yet, or hold an earlier model.
        model: What is to be saved.

    Raises:
        InputError: If `folder` holds something that is not a model.
        RunError: If the disk is full or read-only.
    """
    folder = folder.absolute()
    if folder.exists() and not may_replace(folder):
        raise InputError(
            f"{folder} exists and is not a saved model; it is left alone. Save to another folder."
        )
    beside = folder.with_name(f".writing-{folder.name}")
    aside = folder.with_name(f".replaced-{folder.name}")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        _write(beside, model)
        if folder.exists():
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
        beside.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        if aside.exists() and not folder.exists():
            aside.rename(folder)
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
    card = checked_card(folder)
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
    numbers = range(card.get("members", 0))
    members = tuple(load_model(_member(folder, number), recipe_class) for number in numbers)
    tensors = load_tensors((folder / WEIGHTS).read_bytes())
    if members:
        parts = members[0].parts
        parts = replace(parts, decide=copy.deepcopy(parts.decide))
    else:
        with restoring(folder), torch.random.fork_rng():  # random weights, which are loaded over
            parts = recipe.build(schema)
        _fill(parts.network.model, "model.", tensors)
        parts.network.model.eval()
    _fill(parts.decide, "decide.", tensors)
    return SavedModel(recipe, schema, parts, card, members)


def _write(folder: Path, model: SavedModel) -> None:
    """Write a model, and the members of an ensemble as models of their own inside of it."""
    folder.mkdir(parents=True)
    parts = model.parts
    tensors = {f"decide.{name}": value for name, value in parts.decide.state_dict().items()}
    if not model.members:
        weights = parts.network.model.state_dict()
        tensors |= {f"model.{name}": value for name, value in weights.items()}
        for name, write in parts.network.companions.items():
            write(folder / name)
    write_tensors(folder / WEIGHTS, tensors)
    for number, member in enumerate(model.members):
        _write(_member(folder, number), member)
    recipe = model.recipe
    card = {
        "recipe": recipe.name,
        "version": recipe.version,
        "config": recipe.config(),
        "changed_copy": _is_changed_copy(recipe),
        "schema": schema_to_json(model.schema),
        **model.facts,
    }
    write_card(folder, card | ({"members": len(model.members)} if model.members else {}))


def _member(folder: Path, number: int) -> Path:
    return folder / f"member-{number}"


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
