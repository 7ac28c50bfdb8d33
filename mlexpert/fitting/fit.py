"""What `recipe.fit(ds)` does, in order: read, split, audit, build, train, calibrate, record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from rich.console import Console

from mlexpert.data.examples import Examples
from mlexpert.data.finding import worst_of_each
from mlexpert.data.schema import schema_to_json
from mlexpert.data.tasks.coverage import task_classes_of
from mlexpert.errors import InputError, RunError
from mlexpert.families.continual import ContinualRecipe
from mlexpert.families.sequences import SequenceRecipe
from mlexpert.fitted import Fitted
from mlexpert.fitted.held import held_of
from mlexpert.fitted.importance import write_importance
from mlexpert.fitted.loading import fitted_of, from_run
from mlexpert.fitted.worst_examples import write_worst_examples
from mlexpert.fitting.assembly import Assembled, assemble, read_folds_for, read_for
from mlexpert.fitting.concluding import conclude
from mlexpert.fitting.folds import fit_folds, whole_data, whole_schema
from mlexpert.preparation import Prepared, Roles
from mlexpert.recipe import Parts, Recipe
from mlexpert.recipe_card import hash_of
from mlexpert.storage.row_digests import write_digests
from mlexpert.storage.run_dir import is_finished, new_run_dir, note, now, open_run
from mlexpert.training.oom import is_out_of_memory
from mlexpert.training.precision import Engine
from mlexpert.training.tracking import RunFolder, require_tracker
from mlexpert.training.trainer import Trainer


def fit(
    recipe: Recipe,
    ds: Any,
    *,
    target: str | list[str] | None = None,
    inputs: str | list[str] | None = None,
    group: str | None = None,
    time: str | None = None,
    subgroups: str | list[str] | None = None,
    sample_weight: str | ArrayLike | None = None,
    folds: int | None = None,
    run_dir: str | Path | None = None,
    fresh: bool = False,
    leakage: Literal["refuse", "report"] = "refuse",
    criteria: Mapping[str, float] | None = None,
    track: Literal["tensorboard"] | None = None,
    profile: bool = False,
    progress: bool = True,
) -> Fitted:
    """Train a recipe on a user's data, with splits, audit, seal and record.

    Args:
        recipe: What to train; it is not changed.
        ds: A `datasets.Dataset`, `DatasetDict` or `IterableDataset`, a `DataFrame`, an `(X, y)`
            pair, a torch map-style `Dataset`, a path (parquet, csv, a folder of class folders),
            "demo", or the name of a dataset on the hub.
        target: The column to predict, or the columns of 0 and 1 of several labels. None: inferred
            where there is one candidate.
        inputs: The columns to predict from. None: all others.
        group: The column whose rows must stay on one side of every split.
        time: The column by which the splits are ordered.
        subgroups: Columns by which results are also reported.
        sample_weight: How much each row counts in training, and in what is chosen on validation:
            a column, or numbers (N,). Metrics count every row alike.
        folds: Train as many models, at least 2, each without another part of the rows that are not
            test, and answer by their mean. Validation is then what each row was told by the model
            that did not train on it. None: one model.
        run_dir: The run folder; one that an interrupted run left is gone on with. None: a new one
            under `runs/`.
        fresh: Start anew in a folder that holds another run.
        leakage: What to do about rows of your own test split that repeat in train: refuse, or go on
            and report.
        criteria: Smallest acceptable value of metrics, by name; the report says whether they were
            met.
        track: A tracker beside the run's own record; "tensorboard" needs the extra of that name.
        profile: Whether to measure where the time of some steps goes, and to record a trace of
            others, into `profile/` of the run folder.
        progress: Whether to show a progress bar.

    Returns:
        The trained model with its evidence.

    Raises:
        InputError: If data, roles, fields or run folder are refused; nothing was trained.
        RunError: If training could not go on; the message says what is kept.
        Interrupted: On Ctrl-C or SIGTERM; the message says how to go on.
    """
    if track not in (None, "tensorboard"):
        raise InputError(f"track={track!r}; it takes None or 'tensorboard'.")
    require_tracker(track)
    if recipe.learns_streams and (folds is not None or time is not None):
        raise InputError(
            f"{recipe.name} learns tasks in their order, which goes with neither folds= nor time=."
        )
    if isinstance(recipe, SequenceRecipe) and folds is not None:
        raise InputError(f"{recipe.name} takes no folds=: a mean of sequences is no sequence.")
    for metric, minimum in (criteria or {}).items():
        if isinstance(minimum, bool) or not isinstance(minimum, int | float):
            raise InputError(f"criteria: {metric!r} is {minimum!r}; give the smallest number.")
    engine = Engine(recipe.precision, sharded=recipe.sharded)
    with engine.processes:
        roles = Roles(target, inputs, group, time, subgroups, sample_weight)
        prepared: Sequence[Prepared]
        if folds is None:
            settled, *prepared = read_for(recipe, ds, roles, leakage)
        else:
            settled, prepared = read_folds_for(recipe, ds, roles, leakage, folds)
        _refuse_together(settled)
        facts = facts_of(settled, prepared, criteria)
        path = where_to(recipe, run_dir, facts, engine)
        if not fresh and engine.processes.first_does(lambda: is_finished(path, facts)):
            return from_run(path, recipe=type(recipe), held=held_of(prepared))
        shown = Shown(track, profile, progress)
        if folds is None:
            return fit_one(settled, prepared[0], path, facts, engine, shown, fresh=fresh)
        folder = open_run(path, facts, engine, fresh=fresh)

        def fit_fold(recipe: Recipe, one: Prepared, place: Path) -> Fitted:
            own = facts_of(recipe, [one], None)
            if engine.processes.first_does(lambda: is_finished(place, own)):
                return from_run(place, recipe=type(recipe), held=held_of([one]))
            if progress and engine.processes.is_first:
                which = f"fold {int(place.name) + 1} of {len(prepared)}"
                Console(stderr=True).print(which, style="dim", highlight=False)
            return fit_one(recipe, one, place, own, engine, shown)

        return fit_folds(settled, prepared, folder, engine, fit_fold)


@dataclass(frozen=True)
class Shown:
    """What a fit shows of itself besides its record: a tracker, a profile, a progress bar."""

    track: str | None
    profile: bool
    progress: bool


def _refuse_together(recipe: Recipe) -> None:
    if recipe.sharded and recipe.ema:
        raise InputError(
            f"sharded=True does not go with a moving average of the weights, which has "
            f"ema={recipe.ema}; set ema=0."
        )


def facts_of(
    recipe: Recipe, prepared: Sequence[Prepared], criteria: Mapping[str, float] | None
) -> dict[str, Any]:
    """Return what makes this run this run; of several folds, what makes the whole of them."""
    first = prepared[0]
    findings = first.findings
    if len(prepared) > 1:
        findings = worst_of_each(chain.from_iterable(one.findings for one in prepared))
    facts = {
        "recipe": recipe.name,
        "version": recipe.version,
        "config": recipe.config(),
        "source_hash": hash_of(type(recipe)),
        "seed": recipe.seed,
        "data": first.facts,
        "schema": schema_to_json(first.schema),
        "leakage": [asdict(finding) for finding in findings],
        "criteria": dict(criteria or {}),
        **recipe.declared(first.schema),
    }
    train = first.splits.train
    if isinstance(recipe, ContinualRecipe) and train.tasks is not None:
        facts["stream"] = {
            "num_tasks": int(train.tasks.max()) + 1,
            "classes": task_classes_of(train),
            **{name: getattr(recipe, name) for name in ("scenario", "boundaries", "blur")},
        }
    if len(prepared) == 1:
        return facts
    schema = schema_to_json(whole_schema(prepared))
    return {**facts, "data": whole_data(prepared), "schema": schema, "folds": len(prepared)}


def where_to(
    recipe: Recipe, run_dir: str | Path | None, facts: dict[str, Any], engine: Engine
) -> Path:
    """Return the run folder that all processes use, of the same data."""
    engine.processes.same_everywhere(facts["data"]["split_fingerprint"], "the data's fingerprint")
    if run_dir is not None:
        return Path(run_dir)
    return Path(engine.processes.first_does(lambda: str(new_run_dir(recipe))))


def fit_one(
    recipe: Recipe,
    prepared: Prepared,
    path: Path,
    facts: dict[str, Any],
    engine: Engine,
    shown: Shown,
    *,
    fresh: bool = False,
    start: Callable[[Parts], None] | None = None,
) -> Fitted:
    """Train a settled recipe on one division of the data, in a run folder of its own.

    Args:
        recipe: Settled.
        prepared: The data.
        path: The run folder.
        facts: Of `facts_of`.
        engine: Device, precision and processes.
        shown: What is shown of it.
        fresh: Start anew in a folder that holds another run.
        start: Changes the parts before training: weights that another run left.
    """
    fork = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=fork):
        torch.manual_seed(recipe.seed)
        made = assemble(recipe, prepared, progress=shown.progress, profile=shown.profile)
        if start is not None:
            start(made.parts)
        model = made.parts.network.model
        size = sum(parameter.numel() for parameter in model.parameters())
        # At most three checkpoints at once, of weights, best weights, average and two moments each.
        num_bytes = 16 * sum(value.nbytes for value in model.state_dict().values())
        about = {**facts, "num_parameters": size}
        folder = open_run(path, about, engine, fresh=fresh, num_bytes=num_bytes)
        folder.start_tracker(shown.track)
        return _train(recipe, made, prepared, engine, folder)


def _train(
    recipe: Recipe, made: Assembled, prepared: Prepared, engine: Engine, folder: RunFolder
) -> Fitted:
    parts, schema = made.parts, prepared.schema
    trainer = Trainer(
        parts.network.model,
        parts.method,
        made.stream,
        made.plan,
        engine,
        folder,
        after_task=recipe.after_task(parts, made.rows),
    )
    started = datetime.now(UTC)
    try:
        position = trainer.run()
        parts = conclude(recipe, made, prepared, trainer, position)
        fitted = fitted_of(
            recipe, schema, parts, run_dir=folder.path, held=held_of([prepared]), facts=folder.facts
        )
        if recipe.learns_streams:  # later tasks must not train on what this one is judged by
            digests = prepared.splits.digests
            trainer.processes.first_does(lambda: write_digests(folder.path, digests))
        if not isinstance(recipe, SequenceRecipe):
            trainer.processes.first_does(lambda: _illustrate(fitted, prepared.splits.validation))
        seconds = {"total": (datetime.now(UTC) - started).total_seconds()}
        seconds["train"] = position.seconds
        folder.update(status="finished", finished=now(), seconds=seconds)
    except KeyboardInterrupt:  # Interrupted is one
        note(folder, status="interrupted")
        raise
    except Exception as error:
        note(folder, status="failed", error=str(error))
        if is_out_of_memory(error):
            raise RunError(
                f"Out of memory on {engine.device}: {error}. A smaller microbatch= needs less, "
                "in a new run_dir."
            ) from error
        raise
    finally:
        folder.close()
    return fitted


def _illustrate(fitted: Fitted, validation: Examples) -> None:
    """Write what the report shows besides: the worst rows, and what each column is worth."""
    assert fitted.run_dir is not None, "a fit has a run folder"
    arrays = fitted._stored("validation")

    def row_of(row: int) -> Examples:
        return validation.select(np.array([row]))

    write_worst_examples(fitted.run_dir, arrays, row_of, fitted.schema)
    write_importance(fitted.run_dir, fitted._predictions, validation, fitted.schema)
