"""The command `fit`, for a recipe of the catalogue and for a file of the user's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlexpert import recipes
from mlexpert.cli import arguments, flags, tables
from mlexpert.errors import InputError
from mlexpert.recipe_card import Card

if TYPE_CHECKING:
    from mlexpert.recipe import Recipe

_SHARED = [*arguments.DATA, *arguments.RUN]


def fit_command(recipe: str | None) -> Callable[..., None]:
    """Return the command `fit`, with the fields of a recipe as flags where one is named."""
    return arguments.recipe_command(recipe, _SHARED, _fit)


def fit_file_command(recipe: type[Recipe], card: Card) -> Callable[..., None]:
    """Return the one command of a recipe's file that was called as a script.

    Args:
        recipe: The class that the file defines.
        card: What the file says of itself.
    """

    def fit(data: str, **given: Any) -> None:
        chosen = arguments.field_values(card.fields, _SHARED, given)
        recipes.check_fields(card.name, chosen, (field.name for field in card.fields))
        _fit(recipe(**chosen), data, given)

    fit.__doc__ = card.claim
    return arguments.with_signature(fit, _SHARED, card.fields, f"Fields of {card.class_name}")


def _fit(recipe: Recipe, data: str, given: Mapping[str, Any]) -> None:
    """Train a recipe on DATA, choose its decision on validation, and write a report.

    The flags of a recipe's own fields stand below `mlexpert fit NAME --help`. On several devices:
    torchrun --nproc-per-node 2 -m mlexpert fit NAME DATA
    """
    reason = flags.reason(given["final_test"])
    called = datetime.now(UTC)
    fitted = recipe.fit(
        data,
        **arguments.roles_of(given),
        folds=given["folds"],
        run_dir=given["run_dir"],
        fresh=given["fresh"],
        leakage=given["leakage"],
        criteria=_criteria(given["criterion"] or ()),
        track=given["track"],
        profile=given["profile"],
        progress=given["progress"],
    )
    from mlexpert.training.processes import leave_group  # with torch, so not at the top

    if not leave_group():  # of several processes one prints, and opens the test split
        return
    assert fitted.run_dir is not None, "what fit returns has a run folder"
    if datetime.fromisoformat(fitted.facts["finished"]) < called.replace(microsecond=0):
        tables.line("This run was finished already and not trained again; --fresh starts anew.")
    tables.validation(fitted.evaluate(), fitted.run_dir)
    if reason is not None:
        tables.final_test(fitted.final_test(reason=reason), fitted.run_dir)
    tables.line(f"Report: {fitted.report()}")


def _criteria(texts: list[str] | tuple[()]) -> dict[str, float] | None:
    criteria = {}
    for text in texts:
        metric, _, minimum = text.partition("=")
        try:
            number = float(minimum)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise InputError(f"--criterion {text!r}: write --criterion metric=number.")
        criteria[metric.strip()] = number
    return criteria or None
