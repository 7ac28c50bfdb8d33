"""The command `fit`, for a recipe of the catalogue and for a file of the user's own."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mlexpert import recipes
from mlexpert.cli import flags, tables
from mlexpert.errors import InputError
from mlexpert.recipe_card import Card, Field, read_card

if TYPE_CHECKING:
    from mlexpert.recipe import Recipe

_ROLES = "Roles of the columns"
_RUN = "The run"


def fit_command(recipe: str | None) -> Callable[..., None]:
    """Return the command `fit`.

    Args:
        recipe: Whose fields it takes as flags; None for a call that names no known recipe.
    """
    fields: tuple[Field, ...] = ()
    if recipe is not None:
        row = recipes.find(recipe)
        fields = read_card(row.file, row.class_name).fields

    def fit(
        name: Annotated[str, typer.Argument(metavar="NAME", help="A recipe: see `mlexpert list`.")],
        data: str,
        **given: Any,
    ) -> None:
        if name.endswith(".py"):
            raise InputError(f"a recipe's file is run by itself: python {name} {data}")
        row = recipes.find(name)
        known = read_card(row.file, row.class_name).fields
        chosen = _field_values(known, given)
        _fit(recipes.get(name, **chosen), data, given)

    fit.__doc__ = (
        "Train a recipe on DATA, choose its decision on validation, and write a report.\n\n"
        "The flags of a recipe's own fields stand below `mlexpert fit NAME --help`."
    )
    return _with_signature(fit, fields, f"Fields of {recipe}")


def fit_file_command(recipe: type[Recipe], card: Card) -> Callable[..., None]:
    """Return the one command of a recipe's file that was called as a script.

    Args:
        recipe: The class that the file defines.
        card: What the file says of itself.
    """

    def fit(data: str, **given: Any) -> None:
        chosen = _field_values(card.fields, given)
        recipes.check_fields(card.name, chosen, (field.name for field in card.fields))
        _fit(recipe(**chosen), data, given)

    fit.__doc__ = card.claim
    return _with_signature(fit, card.fields, f"Fields of {card.class_name}")


def _arguments(
    *,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A parquet or csv file, a folder of class folders, a name on the hub, or demo.",
        ),
    ],
    target: Annotated[
        str | None, typer.Option(help="Column with the label.", rich_help_panel=_ROLES)
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(help="Column to learn from; repeat for several.", rich_help_panel=_ROLES),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Column whose values never straddle two splits.", rich_help_panel=_ROLES),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(help="Column to split by: the past trains.", rich_help_panel=_ROLES),
    ] = None,
    subgroups: Annotated[
        list[str] | None,
        typer.Option(
            help="Column by which results are also reported; repeat for several.",
            rich_help_panel=_ROLES,
        ),
    ] = None,
    run_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run; where it holds an interrupted one, that goes on.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Start again in a run folder that is in use.", rich_help_panel=_RUN
        ),
    ] = False,
    leakage: Annotated[
        Literal["refuse", "report"],
        typer.Option(help="What to do where the audit finds an error.", rich_help_panel=_RUN),
    ] = "refuse",
    criterion: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=MINIMUM",
            help="What the report holds the run to; repeat for several.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    track: Annotated[
        Literal["tensorboard"] | None,
        typer.Option(help="Where else to record the learning curves.", rich_help_panel=_RUN),
    ] = None,
    final_test: Annotated[
        str | None,
        typer.Option(
            metavar="REASON",
            help="Also open the sealed test split, and write down why.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Set a field; repeat for several.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    progress: Annotated[
        bool, typer.Option("--progress/--quiet", help="Show a progress bar.", rich_help_panel=_RUN)
    ] = True,
) -> None:
    """Hold the signature that both commands share; their bodies find these values by name."""


_SHARED = list(inspect.signature(_arguments, eval_str=True).parameters.values())


def _with_signature(
    command: Callable[..., None], fields: tuple[Field, ...], panel: str
) -> Callable[..., None]:
    """Give `command` its own arguments, the shared ones, and a flag for each field beside them."""
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD and parameter.name != "data"
    ]
    taken = {parameter.name for parameter in [*own, *_SHARED]}
    free = [field for field in fields if field.name not in taken]
    parameters = [*own, *_SHARED, *flags.parameters(free, panel)]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _field_values(fields: tuple[Field, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    taken = {parameter.name for parameter in _SHARED}
    own = {field.name: given[field.name] for field in fields if field.name in given.keys() - taken}
    return flags.values(fields, own, given["settings"] or ())


def _fit(recipe: Recipe, data: str, given: Mapping[str, Any]) -> None:
    reason = flags.reason(given["final_test"])
    called = datetime.now(UTC)
    fitted = recipe.fit(
        data,
        target=given["target"],
        inputs=given["inputs"] or None,
        group=given["group"],
        time=given["time"],
        subgroups=given["subgroups"] or None,
        run_dir=given["run_dir"],
        fresh=given["fresh"],
        leakage=given["leakage"],
        criteria=_criteria(given["criterion"] or ()),
        track=given["track"],
        progress=given["progress"],
    )
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
