"""The command `forecast`: the values that come after the rows of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import mlexpert
from mlexpert import copying
from mlexpert.errors import InputError, RunError


def forecast(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a run, or a saved model.")
    ],
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Rows like those of the fit; the newest are seen.")
    ],
    horizon: Annotated[
        int | None, typer.Option(help="Steps to forecast; by default those that were trained.")
    ] = None,
    future: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Covariates of the steps to come, csv or parquet."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "--out", metavar="FILE", help="A csv; by default the screen."),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", metavar="FILE", help="The recipe's file, for a copy of yours."),
    ] = None,
) -> None:
    """Write the values that come after the rows of DATA, in their own units, as a table."""
    from mlexpert.data.sources import load
    from mlexpert.fitted.forecasting import FittedForecaster

    if output is not None and output.exists():
        raise InputError(f"{output} exists; name another file, or remove it.")
    fitted = mlexpert.load(run, recipe=None if recipe is None else copying.recipe_in(recipe))
    if not isinstance(fitted, FittedForecaster):
        raise InputError(f"{run} is a model of {fitted.recipe.name}, which makes no forecasts.")
    known = None
    if future is not None:
        known = load(future, target=None, for_prediction=False)["all"].frame
    table = fitted.forecast(horizon, context=data, future=known)
    if output is None:
        typer.echo(table.to_string(index=False))
        return
    try:
        table.to_csv(output, index=False)
    except OSError as error:
        raise RunError(f"{output} cannot be written: {error.strerror or error}.") from error
    typer.echo(f"{len(table)} rows: {output}")
