"""What a fit does after training: choose the decision, and write the model and what it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from mlexpert import __version__
from mlexpert.blocks.layers.image_views import one_view
from mlexpert.data.batches import batches, cut, epoch_order
from mlexpert.families.sequences import SequenceRecipe, write_illustration
from mlexpert.fitted.model import DATA_FACTS
from mlexpert.fitted.predictions import predictions_of, targets_of, write_arrays, write_subgroups
from mlexpert.fitting.assembly import Assembled
from mlexpert.preparation import Prepared
from mlexpert.recipe import Parts, Recipe
from mlexpert.storage.model_folder import SavedModel, save_model
from mlexpert.training.method import Batch
from mlexpert.training.plan import Data, Position
from mlexpert.training.trainer import Trainer


def conclude(
    recipe: Recipe, made: Assembled, prepared: Prepared, trainer: Trainer, position: Position
) -> Parts:
    """Fit the decision on validation, and write the model and what it says of validation."""
    if isinstance(recipe, SequenceRecipe):
        return _conclude_sequences(recipe, made, prepared, trainer, position)
    parts = made.parts
    targets = made.validation.targets.cpu()
    logits = trainer.logits(made.validation.store)
    tasks = made.rows.validation_tasks
    asked = logits
    if parts.tells_task and parts.given_task is not None and tasks is not None:
        asked = parts.given_task(logits, tasks)
    decision = parts.decide.fit(asked, targets, made.validation.weights)
    few = _few(made, recipe.seed)
    with one_view(trainer.model):  # as in the scores of the epochs
        seen = trainer.logits(made.unsampled.store, few)
    evaluate = made.stream[-1].evaluate
    assert evaluate is not None, "there are logits"
    clean = evaluate(seen, made.unsampled.targets[few], made.unsampled.weights_of(few))
    parts = _whole(parts, trainer)

    def write() -> None:
        schema, rows = prepared.schema, prepared.splits.validation
        said = predictions_of(parts, logits, schema.objective, tasks)
        arrays = {**said, "targets": targets_of(rows, schema)}
        write_subgroups(trainer.folder.path, "validation", arrays, rows.subgroups, schema)
        _write(recipe, made, prepared, trainer, position, parts, arrays, clean, asdict(decision))

    trainer.processes.first_does(write)
    return parts


def _conclude_sequences(
    recipe: SequenceRecipe,
    made: Assembled,
    prepared: Prepared,
    trainer: Trainer,
    position: Position,
) -> Parts:
    """Write the model, its sums over the rows of validation, and what the report shows of them."""
    few = made.unsampled.select(_few(made, recipe.seed))
    rows = _rows_of(few, made.plan.batch_size, trainer.engine.device)
    clean = trainer.method.examine(trainer.model.eval(), rows).scores
    parts = _whole(made.parts, trainer)

    def write() -> None:
        validation = prepared.splits.validation
        arrays = recipe.said(parts, validation, prepared.schema)
        _write(recipe, made, prepared, trainer, position, parts, arrays, clean, None)
        shown = recipe.illustrate(parts, validation, prepared.schema)
        write_illustration(trainer.folder.path, shown)

    trainer.processes.first_does(write)
    return parts


def _write(
    recipe: Recipe,
    made: Assembled,
    prepared: Prepared,
    trainer: Trainer,
    position: Position,
    parts: Parts,
    arrays: dict[str, np.ndarray],
    clean: dict[str, float],
    decision: dict[str, Any] | None,
) -> None:
    """Write what is said of validation, the scores that were kept, and the model."""
    folder, schema, monitor = trainer.folder, prepared.schema, parts.monitor
    kept = position.kept(made.plan.keep)
    write_arrays(folder.path, "validation", arrays)
    at = {"step": position.step, "epoch": kept["epoch"]}
    folder.log({**at, "split": "train_clean", **clean})
    folder.update(
        best={**kept, "metric": monitor, "value": kept[monitor]},
        last={**position.last, "metric": monitor, "value": position.last[monitor]},
        decision=decision,
    )
    data = {key: prepared.facts[key] for key in DATA_FACTS}
    facts = {"mlexpert": __version__, "data": data, **recipe.declared(schema)}
    save_model(folder.path / "model", SavedModel(recipe, schema, parts, facts))


def _few(made: Assembled, seed: int) -> torch.Tensor:
    """Return training rows as many as validation has, so that the two are compared alike."""
    order = epoch_order(len(made.unsampled.targets), seed=seed, epoch=0)
    return order[: len(made.validation.targets)]


def _whole(parts: Parts, trainer: Trainer) -> Parts:
    """Return the parts with the whole model, where it was sharded."""
    if trainer.whole is None:
        return parts
    return replace(parts, network=replace(parts.network, model=trainer.whole))


def _rows_of(data: Data, batch_size: int, device: torch.device) -> Iterator[Batch]:
    cuts = cut(torch.arange(len(data.targets)), batch_size)
    for inputs, targets, index in batches(data.store, data.targets, cuts):
        yield Batch(inputs.to(device), targets.to(device), index, data.weights_of(index))
