"""The commands besides `fit`; each imports what is slow by itself, so that all start at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import mlexpert
from mlexpert import copying, recipes
from mlexpert.errors import InputError, RunError

if TYPE_CHECKING:
    from mlexpert.fitted import Fitted

Name = Annotated[str, typer.Argument(metavar="NAME", help="A recipe, or recipe@version.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
RecipeFile = Annotated[
    Path | None,
    typer.Option(
        "--recipe", metavar="FILE", help="The recipe's file, for a run of a copy of yours."
    ),
]


def list_recipes() -> None:
    """List the recipes, each with what it claims."""
    from mlexpert.cli import tables

    cards = [recipes.describe(name) for name in recipes.names()]
    tables.catalogue([(card["name"], card["version"], card["claim"]) for card in cards])


def show(name: Name) -> None:
    """Show a recipe: claim, paper, differences from it, fields, file."""
    from mlexpert.cli import tables

    tables.card(recipes.describe(name))


def evaluate(
    run: Run,
    final_test: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Also open the sealed test split, and write down why."),
    ] = None,
    recipe: RecipeFile = None,
) -> None:
    """Print a run's validation metrics; with --final-test, those of the sealed test split too."""
    from mlexpert.cli import flags, tables

    reason = flags.reason(final_test)
    fitted = _from_run(run, recipe)
    tables.validation(fitted.evaluate(), run)
    if reason is not None:
        tables.final_test(fitted.final_test(reason=reason), run)
        tables.line(f"Report: {fitted.report()}")


def predict(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a run, or a saved model.")
    ],
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="Rows like those of the fit; labels are not needed."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "--out",
            metavar="FILE",
            help="A csv or parquet file; by default the screen.",
        ),
    ] = None,
    recipe: RecipeFile = None,
) -> None:
    """Write the decision and the probability of each class for every row of DATA, as a table.

    Taggers write the tags of a sentence, seq2seq its answer, a row for each.

    Files of any length are read and written piece by piece. Images of a folder are named, in the
    order of their names.
    """
    from mlexpert.cli import predicting

    if output is not None and output.exists():
        raise InputError(f"{output} exists; name another file, or remove it.")
    fitted = mlexpert.load(run, recipe=_recipe_class(recipe))
    tables = predicting.tables_of(fitted, data)
    if output is None:
        predicting.show(tables)
    else:
        typer.echo(f"{predicting.write(tables, output)} rows: {output}")


def report(run: Run) -> None:
    """Write the report of a run or a comparison again: one HTML file, without a network."""
    from mlexpert.evidence.report import write_report

    if (run / "comparison.json").is_file():
        from mlexpert.evidence.comparison.report import write_comparison

        typer.echo(f"Report: {write_comparison(run)}")
        return
    if not (run / "run.json").is_file():
        raise InputError(f"{run} holds no run.json; name the folder of a run.")
    typer.echo(f"Report: {write_report(run)}")


def copy(
    name: Name,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="By default the file's own name, here.")
    ] = None,
) -> None:
    """Copy a recipe's file, to change its idea and run it as a script."""
    written = copying.copy_recipe(name, file)
    typer.echo(f"{written} is yours. Run it: python {written} DATA")


def bench(
    family: Annotated[str, typer.Argument(metavar="FAMILY", help="For example imbalanced-cls.")],
    smoke: Annotated[
        bool, typer.Option("--smoke", help="A short run that only shows that it works.")
    ] = False,
) -> None:
    """Run a family's benchmark against its rivals; needs a checkout of the repository."""
    folder = Path(mlexpert.__file__).resolve().parents[1] / "benchmarks"
    script = folder / family.replace("-", "_") / "run.py"
    if not script.is_file():
        there = ", ".join(sorted(file.parent.name for file in folder.glob("*/run.py")))
        raise InputError(
            f"no benchmark of {family!r} at {script}. "
            + (
                f"There are: {there}."
                if there
                else "Benchmarks come with a checkout of the repository, not with the package."
            )
        )
    done = subprocess.run([sys.executable, script, *(["--smoke"] if smoke else [])], check=False)
    if done.returncode:
        raise RunError(f"{script} ended with code {done.returncode}; its own message stands above.")


def _recipe_class(file: Path | None) -> Any:
    return None if file is None else copying.recipe_in(file)


def _from_run(run: Path, recipe: Path | None) -> Fitted:
    return mlexpert.Fitted.from_run(run, recipe=_recipe_class(recipe))
