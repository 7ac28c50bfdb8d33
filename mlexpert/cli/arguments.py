"""The arguments that commands share: the data, the roles of their columns, a recipe's fields."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mlexpert import recipes
from mlexpert.cli import flags
from mlexpert.errors import InputError
from mlexpert.recipe_card import Field, read_card

if TYPE_CHECKING:
    from mlexpert.recipe import Recipe

_ROLES = "Roles of the columns"
_RUN = "The run"
_FIELDS = "Fields by name"


def _data(
    *,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A parquet or csv file, a folder of class folders, a name on the hub, or demo.",
        ),
    ],
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Column to predict; repeat for the columns of 0 and 1 of several labels.",
            rich_help_panel=_ROLES,
        ),
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
    sample_weight: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Column of how much a row counts.", rich_help_panel=_ROLES
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Set a field; repeat for several.",
            rich_help_panel=_FIELDS,
        ),
    ] = None,
) -> None:
    """Hold the signature of what every command that reads data takes."""


def _run(
    *,
    run_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run; where it holds an interrupted one, that goes on.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Train as many models, each without another part, and answer by their mean.",
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
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Measure where the time of a step goes, and record a trace of some.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    progress: Annotated[
        bool, typer.Option("--progress/--quiet", help="Show a progress bar.", rich_help_panel=_RUN)
    ] = True,
) -> None:
    """Hold the signature of what `fit` takes besides; bodies find these values by name."""


DATA = list(inspect.signature(_data, eval_str=True).parameters.values())
RUN = list(inspect.signature(_run, eval_str=True).parameters.values())


def recipe_command(
    recipe: str | None,
    shared: list[inspect.Parameter],
    work: Callable[[Recipe, str, Mapping[str, Any]], None],
) -> Callable[..., None]:
    """Return the command `NAME DATA` that does `work` with a recipe of the catalogue.

    Args:
        recipe: Whose fields it takes as flags; None for a call that names no known recipe.
        shared: What it takes besides.
        work: Is given the recipe, the data and the values of all arguments; its docstring is the
            command's help.
    """
    fields: tuple[Field, ...] = ()
    if recipe is not None:
        row = recipes.find(recipe)
        fields = read_card(row.file, row.class_name).fields

    def command(
        name: Annotated[str, typer.Argument(metavar="NAME", help="A recipe: see `mlexpert list`.")],
        data: str,
        **given: Any,
    ) -> None:
        if name.endswith(".py"):
            raise InputError(f"a recipe's file is run by itself: python {name} {data}")
        row = recipes.find(name)
        known = read_card(row.file, row.class_name).fields
        work(recipes.get(name, **field_values(known, shared, given)), data, given)

    command.__doc__ = work.__doc__
    return with_signature(command, shared, fields, f"Fields of {recipe}")


def with_signature(
    command: Callable[..., None],
    shared: list[inspect.Parameter],
    fields: tuple[Field, ...],
    panel: str,
) -> Callable[..., None]:
    """Give `command` its own arguments, the shared ones, and a flag for each field beside them."""
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD and parameter.name != "data"
    ]
    taken = {parameter.name for parameter in [*own, *shared]}
    free = [field for field in fields if field.name not in taken]
    parameters = [*own, *shared, *flags.parameters(free, panel)]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def field_values(
    fields: tuple[Field, ...], shared: list[inspect.Parameter], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the fields that differ from their defaults, of all that a command was given."""
    taken = {parameter.name for parameter in shared}
    own = {field.name: given[field.name] for field in fields if field.name in given.keys() - taken}
    return flags.values(fields, own, given["settings"] or ())


def roles_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the roles of the columns, as `fit` takes them."""
    target = given["target"] or [None]
    return {
        "target": target if len(target) > 1 else target[0],
        "inputs": given["inputs"] or None,
        "group": given["group"],
        "time": given["time"],
        "subgroups": given["subgroups"] or None,
        "sample_weight": given["sample_weight"],
    }


def columns_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the roles that matter before training: all but the subgroups of the report."""
    return {name: value for name, value in roles_of(given).items() if name != "subgroups"}
