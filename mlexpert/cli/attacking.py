"""The command `attack`: how much a run's model withstands, and whether that can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import typer

from mlexpert.cli.commands import RecipeFile, Run
from mlexpert.errors import InputError

_THREAT, _ROWS = "What the attacker may do", "The rows"
_EXAMPLE = "write --epsilon 0.3 or --epsilon 8/255."


def attack(
    run: Run,
    attack: Annotated[
        Literal["auto", "quick", "pgd", "apgd", "square", "fgsm"],
        typer.Option(help="auto is AutoAttack's ensemble, quick a shorter one."),
    ] = "auto",
    epsilon: Annotated[
        str | None,
        typer.Option(
            help="How far an input may be moved: of images 8/255 or 0.3, of tables in standard "
            "deviations. By default what the model was trained for.",
            rich_help_panel=_THREAT,
        ),
    ] = None,
    norm: Annotated[
        Literal["linf", "l2", "l1"] | None,
        typer.Option(
            help="By default the one that was trained for, or linf.", rich_help_panel=_THREAT
        ),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=RADIUS",
            help="Of tables, in place of --epsilon; repeat for several, others stay.",
            rich_help_panel=_THREAT,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Labelled rows like those of the fit; by default the run's validation rows.",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    rows: Annotated[
        int, typer.Option(help="Most rows that are attacked; 0 for all.", rich_help_panel=_ROWS)
    ] = 1000,
    test: Annotated[
        bool,
        typer.Option("--test", help="Open the sealed test split.", rich_help_panel=_ROWS),
    ] = False,
    reason: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="Why it is opened; the ledger keeps it.", rich_help_panel=_ROWS
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Of pgd or apgd, or queries of square.")] = None,
    restarts: Annotated[int | None, typer.Option(help="Random starts of pgd.")] = None,
    seed: Annotated[int, typer.Option(help="Of rows and of all that attacks draw.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Rows that are attacked together.")] = 500,
    checks: Annotated[
        bool, typer.Option("--checks/--no-checks", help="Ask whether the number can be trusted.")
    ] = True,
    recipe: RecipeFile = None,
    progress: Annotated[bool, typer.Option("--progress/--quiet", help="Show progress.")] = True,
) -> None:
    """Attack the model of RUN: accuracy in the worst case, each attack's share of it, a verdict.

    The record goes into the run folder, and the report shows it.
    """
    radius, budgets = _epsilon(epsilon), _budgets(budget or ())
    why = _reason(test, reason)
    from rich.console import Console

    import mlexpert
    from mlexpert.cli import tables
    from mlexpert.copying import recipe_in

    fitted = mlexpert.Fitted.from_run(run, recipe=None if recipe is None else recipe_in(recipe))
    found = mlexpert.attack(
        fitted,
        data,
        attack=attack,
        norm=norm,
        epsilon=radius,
        budgets=budgets,
        steps=steps,
        restarts=restarts,
        rows=rows or None,
        reason=why,
        checks=checks,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
    )
    Console().print(found)
    tables.line(f"Record: {found.path}")
    tables.line(f"Report: {fitted.report()}")


def _epsilon(text: str | None) -> float | None:
    """Return a number, which may be written as a fraction."""
    if text is None:
        return None
    above, slash, below = text.partition("/")
    try:
        return float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"--epsilon {text!r} is no number; {_EXAMPLE}") from error


def _budgets(texts: Sequence[str]) -> dict[str, float] | None:
    """Return column to radius, or None where none is given."""
    found = {}
    for text in texts:
        column, _, radius = text.rpartition("=")
        try:
            found[column] = float(radius)
        except ValueError as error:
            raise InputError(
                f"--budget {text!r}: write a column and a number, --budget age=2.5."
            ) from error
    return found or None


def _reason(test: bool, reason: str | None) -> str | None:
    if test and not (reason or "").strip():
        raise InputError("--test needs --reason, such as 'table 1'; the ledger keeps it.")
    if reason is not None and not test:
        raise InputError("--reason says why the test split is opened; it needs --test.")
    return reason
