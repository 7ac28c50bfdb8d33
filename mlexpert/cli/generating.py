"""The command `generate`: a text that a language model goes on with, as it comes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import mlexpert
from mlexpert import copying
from mlexpert.errors import InputError


def generate(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a run, or a saved model.")
    ],
    prompt: Annotated[str, typer.Option(help="What the text begins with.")] = "",
    max_new_tokens: Annotated[int, typer.Option(help="Tokens to draw, at most.")] = 500,
    temperature: Annotated[
        float, typer.Option(help="Above 1 more at random, below less; 0 takes the likeliest token.")
    ] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(help="Draw from as many of the likeliest tokens.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw from the likeliest tokens that hold this share.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same text.")] = 0,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", metavar="FILE", help="The recipe's file, for a copy of yours."),
    ] = None,
) -> None:
    """Print the prompt and the text that a language model goes on with, as it comes."""
    from mlexpert.fitted.language import FittedLanguageModel

    fitted = mlexpert.load(run, recipe=None if recipe is None else copying.recipe_in(recipe))
    if not isinstance(fitted, FittedLanguageModel):
        raise InputError(f"{run} is a model of {fitted.recipe.name}, which generates no text.")
    shown = False

    def show(text: str) -> None:
        nonlocal shown
        if not shown:  # a prompt that is refused is not printed
            typer.echo(prompt, nl=False)
        shown = True
        typer.echo(text, nl=False)

    fitted.generate(
        prompt,
        max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        stream=show,
    )
    typer.echo("" if shown else prompt)
