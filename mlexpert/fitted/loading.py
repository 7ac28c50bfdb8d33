"""Fitted models of folders: of a saved model, or of a run with all that it left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlexpert.data.schema import Schema
from mlexpert.errors import InputError
from mlexpert.families.sequences import SequenceRecipe
from mlexpert.fitted.continual import ContinualFitted
from mlexpert.fitted.ensemble import Ensemble
from mlexpert.fitted.forecasting import FittedForecaster
from mlexpert.fitted.held import Held
from mlexpert.fitted.language import FittedLanguageModel
from mlexpert.fitted.model import Fitted
from mlexpert.fitted.sequences import SequenceFitted
from mlexpert.fitted.tagging import FittedTagger
from mlexpert.fitted.transduction import FittedTransducer
from mlexpert.recipe import Parts, Recipe
from mlexpert.storage.model_files import CARD
from mlexpert.storage.model_folder import SavedModel, load_model
from mlexpert.storage.run_dir import earlier_run
from mlexpert.training.tracking import RUN

_FORMS: dict[str, type[SequenceFitted]] = {
    "forecast": FittedForecaster,
    "tags": FittedTagger,
    "tokens": FittedLanguageModel,
    "transduction": FittedTransducer,
}
"""What a fitted model of each kind of sequence can be asked."""


def load(folder: str | Path, *, recipe: type[Recipe] | None = None) -> Fitted:
    """Load a saved model.

    Args:
        folder: What `fitted.save(folder)` wrote, or the run folder that holds it.
        recipe: The class of a copied recipe; None looks it up in the catalogue.

    Returns:
        The model; it predicts, and evaluates on data that you give it.

    Raises:
        InputError: If a file is missing, altered, foreign or a pickle, or the recipe's version is
            not in this package.
    """
    path = Path(folder)
    if not (path / CARD).is_file() and (path / "model" / CARD).is_file():
        path = path / "model"
    elif not (path / CARD).is_file() and (path / RUN).is_file():
        return from_run(path, recipe=recipe)  # says why the run holds no model
    saved = load_model(path, recipe)
    return _fitted(saved, facts=saved.facts)


def from_run(
    run_dir: str | Path, *, recipe: type[Recipe] | None = None, held: Held | None = None
) -> Fitted:
    """Return the fitted model of a finished run folder; see `Fitted.from_run`."""
    path = Path(run_dir)
    facts = earlier_run(path) if (path / RUN).is_file() else None
    if facts is None:
        raise InputError(f"{path} is not a run folder: {RUN} is missing.")
    if facts["status"] != "finished":
        raise InputError(
            f"The run in {path} is {facts['status']}, not finished; "
            f"fit again with run_dir={str(path)!r}."
        )
    return _fitted(load_model(path / "model", recipe), facts=facts, run_dir=path, held=held)


def _fitted(
    saved: SavedModel,
    *,
    facts: dict[str, Any],
    run_dir: Path | None = None,
    held: Held | None = None,
) -> Fitted:
    """Return the one model or the ensemble that was saved."""
    if saved.members:
        return Ensemble.of_saved(saved, facts=facts, run_dir=run_dir, held=held)
    return fitted_of(
        saved.recipe, saved.schema, saved.parts, facts=facts, run_dir=run_dir, held=held
    )


def fitted_of(
    recipe: Recipe,
    schema: Schema,
    parts: Parts,
    *,
    facts: dict[str, Any],
    run_dir: Path | None = None,
    held: Held | None = None,
) -> Fitted:
    """Return a trained model in the form that its recipe's kind of data asks for."""
    form: type[Fitted] = ContinualFitted if recipe.learns_streams else Fitted
    if isinstance(recipe, SequenceRecipe):
        form = _FORMS.get(recipe.predicts, SequenceFitted)
    return form(recipe, schema, parts, facts=facts, run_dir=run_dir, held=held)
