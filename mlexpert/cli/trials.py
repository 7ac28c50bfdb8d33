"""The commands that try before training: `memory` and `lr-range`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mlexpert.cli import arguments, tables

if TYPE_CHECKING:
    from mlexpert.recipe import Recipe


def memory_command(recipe: str | None) -> Callable[..., None]:
    """Return the command `memory`, with the fields of a recipe as flags where one is named."""
    return arguments.recipe_command(recipe, arguments.DATA, _memory)


def lr_range_command(recipe: str | None) -> Callable[..., None]:
    """Return the command `lr-range`, with the fields of a recipe as flags where one is named."""
    return arguments.recipe_command(recipe, arguments.DATA, _lr_range)


def _memory(recipe: Recipe, data: str, given: Mapping[str, Any]) -> None:
    """Predict the memory that training a recipe on DATA takes, without training it."""
    from mlexpert.fitting.trials import predict_memory

    tables.memory(predict_memory(recipe, data, **arguments.columns_of(given)))


def _lr_range(recipe: Recipe, data: str, given: Mapping[str, Any]) -> None:
    """Sweep the learning rate over a hundred steps of a recipe on DATA, and draw the loss.

    It gives a bracket, not an optimum: compare a few rates around the suggested one.
    """
    from mlexpert.fitting.trials import lr_range

    found = lr_range(recipe, data, **arguments.columns_of(given))
    tables.lr_range(found)
