"""The command `compare`: several recipes on one data set, one table and one report."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mlexpert import recipes
from mlexpert.cli import arguments, flags, tables
from mlexpert.errors import InputError, RunError
from mlexpert.recipe_card import Field, read_card

_COMPARISON = "The comparison"


def _compare(
    *,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME... DATA",
            help="Recipes, or one family for all of its recipes; and last the data, as for fit.",
        ),
    ],
    seeds: Annotated[
        str,
        typer.Option(
            help="How many repeats; or the seeds, with commas.", rich_help_panel=_COMPARISON
        ),
    ] = "3",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="What is compared; repeat for several, of which the first ranks.",
            rich_help_panel=_COMPARISON,
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What the others are compared with; by default the best.",
            rich_help_panel=_COMPARISON,
        ),
    ] = None,
    run_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the comparison; where it holds one that was stopped, that goes on.",
            rich_help_panel=_COMPARISON,
        ),
    ] = None,
    leakage: Annotated[
        Literal["refuse", "report"],
        typer.Option(
            help="What to do where the audit finds an error.", rich_help_panel=_COMPARISON
        ),
    ] = "refuse",
    final_test: Annotated[
        str | None,
        typer.Option(
            metavar="REASON",
            help="Compare on the sealed test split: open it for every run, and write down why.",
            rich_help_panel=_COMPARISON,
        ),
    ] = None,
    progress: Annotated[
        bool,
        typer.Option("--progress/--quiet", help="Show progress.", rich_help_panel=_COMPARISON),
    ] = True,
) -> None:
    """Hold the signature of what `compare` takes besides the data's roles."""


def compare_command() -> Callable[..., None]:
    """Return the command `compare`."""

    def command(**given: Any) -> None:
        """Train several recipes on DATA, on the same splits and seeds, and say which differ.

        A family's name alone stands for all its recipes; --set is for all that have the field.
        """
        *names, data = given["words"]
        if not names:
            raise InputError(
                f"compare takes recipes and then the data; {data!r} alone names only one of them."
            )
        if _is_recipe(data) and not Path(data).exists():
            raise InputError(f"the last word is the data, and {data!r} is a recipe.")
        reason = flags.reason(given["final_test"])
        seeds = _seeds(given["seeds"])
        fields = _settings(names, given["settings"] or ())
        from mlexpert.comparing.compare import compare  # torch

        found = compare(
            names,
            data,
            seeds=seeds,
            **arguments.roles_of(given),
            fields=fields,
            metrics=given["metric"] or None,
            baseline=given["baseline"],
            run_dir=given["run_dir"],
            leakage=given["leakage"],
            final_test=reason,
            progress=given["progress"],
        )
        tables.comparison(found)
        tables.line(f"Report: {found.report()}")
        if found.failed:
            first = next(iter(found.failed))
            raise RunError(
                f"{len(found.failed)} of {len(found.facts['recipes'])} recipes had a run that "
                f"failed; {first}, {found.failed[first]} The others are compared all the same."
            )

    own = list(inspect.signature(_compare, eval_str=True).parameters.values())
    roles = [one for one in arguments.DATA if one.name != "data"]
    command.__signature__ = inspect.Signature([*own, *roles])  # type: ignore[attr-defined]
    return command


def _is_recipe(word: str) -> bool:
    named = recipes.names()
    return word.split("@")[0] in {*named, *(name.split("/")[0] for name in named)}


def _seeds(text: str) -> int | list[int]:
    """Return how many seeds, or the seeds: those with a comma."""
    try:
        numbers = [int(one) for one in text.split(",") if one.strip()]
    except ValueError:
        numbers = []
    if not numbers:
        raise InputError(f"--seeds {text!r}: write how many, --seeds 3, or which, --seeds 0,7,9.")
    return numbers if "," in text else numbers[0]


def _settings(names: Sequence[str], settings: Sequence[str]) -> dict[str, Any]:
    """Return the fields that `--set` gives, read as the first recipe that has each takes them.

    Raises:
        InputError: If no recipe has a field, or a text is no value of it.
    """
    from mlexpert.comparing.entrants import check_setting, stands_for

    meant = [one for name in names for one, _ in stands_for(name, alone=len(names) == 1)]
    fields: dict[str, Field] = {}
    for name in meant:
        row = recipes.find(name)
        for field in read_card(row.file, row.class_name).fields:
            fields.setdefault(field.name, field)
    found = flags.values(list(fields.values()), {}, settings)
    check_setting(found, fields)
    return found
