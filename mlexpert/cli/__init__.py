"""The command line: `mlexpert list | show | fit | compare | memory | evaluate | predict | ...`.

Exit codes: 0 done, 1 a run that failed, 2 a wrong call, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

import mlexpert
from mlexpert import recipes
from mlexpert.cli import attacking, commands, forecasting, generating
from mlexpert.cli.comparing import compare_command
from mlexpert.cli.exits import as_exit_codes
from mlexpert.cli.fitting import fit_command, fit_file_command
from mlexpert.cli.trials import lr_range_command, memory_command
from mlexpert.recipe_card import file_of, read_card

if TYPE_CHECKING:
    from mlexpert.recipe import Recipe

# A recipe that is not known has no flags: whatever was given is left to the error about its name.
_LENIENT = {"ignore_unknown_options": True, "allow_extra_args": True}


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code.

    Args:
        args: What follows `mlexpert`; by default what the process was called with.
    """
    args = list(sys.argv[1:] if args is None else args)
    app(_recipe_in(args))(args=args, prog_name="mlexpert")


def run_file(recipe: type[Recipe]) -> None:
    """Fit the recipe of a file that was called as a script: `python my_recipe.py DATA`.

    Args:
        recipe: The class that the file defines.
    """
    file = file_of(recipe)
    script = _typer("Fits the recipe of this file on DATA.")
    script.command()(as_exit_codes(fit_file_command(recipe, read_card(file, recipe.__name__))))
    script(prog_name=f"python {file.name}")


def app(recipe: str | None = None) -> typer.Typer:
    """Build the command line.

    Args:
        recipe: Whose fields `fit`, `memory` and `lr-range` take as flags.
    """
    line = _typer("Expert training recipes for PyTorch, with the evidence built in.")
    line.callback()(_top)
    line.command("list")(as_exit_codes(commands.list_recipes))
    line.command("show")(as_exit_codes(commands.show))
    settings = _LENIENT if recipe is None else {}
    line.command("fit", context_settings=settings)(as_exit_codes(fit_command(recipe)))
    line.command("compare")(as_exit_codes(compare_command()))
    line.command("memory", context_settings=settings)(as_exit_codes(memory_command(recipe)))
    line.command("lr-range", context_settings=settings)(as_exit_codes(lr_range_command(recipe)))
    line.command("evaluate")(as_exit_codes(commands.evaluate))
    line.command("attack")(as_exit_codes(attacking.attack))
    line.command("predict")(as_exit_codes(commands.predict))
    line.command("forecast")(as_exit_codes(forecasting.forecast))
    line.command("generate")(as_exit_codes(generating.generate))
    line.command("report")(as_exit_codes(commands.report))
    line.command("copy")(as_exit_codes(commands.copy))
    line.command("bench")(as_exit_codes(commands.bench))
    return line


def _typer(text: str) -> typer.Typer:
    return typer.Typer(
        help=text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mlexpert {mlexpert.__version__}")
        raise typer.Exit


def _top(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and stop.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Take the flags that stand before a command."""


def _recipe_in(args: Sequence[str]) -> str | None:
    """Return the recipe that a call names: its flags must be known before it is parsed."""
    if not args or args[0] not in ("fit", "memory", "lr-range"):
        return None
    known = {f"{row.name}@{row.version}" for row in recipes.CATALOGUE} | set(recipes.names())
    return next((word for word in args[1:] if word in known), None)
