"""What `recipe.fit(ds)` does, in order: read, split, audit, build, train, calibrate, record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch

from mlexpert import __version__
from mlexpert.assembly import Assembled, assemble, read_for
from mlexpert.data.batches import epoch_order
from mlexpert.data.schema import schema_to_json
from mlexpert.environment import environment, packages
from mlexpert.errors import InputError, RunError
from mlexpert.fitted import DATA_FACTS, Fitted, Held
from mlexpert.model_folder import save_model
from mlexpert.predictions import predictions_of, write_arrays, write_subgroups
from mlexpert.preparation import Prepared, Roles
from mlexpert.recipe import Parts, Recipe
from mlexpert.recipe_card import hash_of
from mlexpert.run_dir import earlier_run, is_finished, new_run_dir
from mlexpert.training.method import Task
from mlexpert.training.oom import is_out_of_memory
from mlexpert.training.plan import Position
from mlexpert.training.precision import Engine
from mlexpert.training.tracking import RunFolder, require_space, require_tracker
from mlexpert.training.trainer import Trainer


def fit(
    recipe: Recipe,
    ds: Any,
    *,
    target: str | None = None,
    inputs: str | list[str] | None = None,
    group: str | None = None,
    time: str | None = None,
    subgroups: str | list[str] | None = None,
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
        target: The column to predict. None: inferred where there is one candidate.
        inputs: The columns to predict from. None: all others.
        group: The column whose rows must stay on one side of every split.
        time: The column by which the splits are ordered.
        subgroups: Columns by which results are also reported.
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
    for metric, minimum in (criteria or {}).items():
        if isinstance(minimum, bool) or not isinstance(minimum, int | float):
            raise InputError(f"criteria: {metric!r} is {minimum!r}; give the smallest number.")
    engine = Engine(recipe.precision, sharded=recipe.sharded)
    with engine.processes:
        roles = Roles(target, inputs, group, time, subgroups)
        settled, prepared = read_for(recipe, ds, roles, leakage)
        if settled.sharded and settled.ema:
            raise InputError(
                f"sharded=True does not go with a moving average of the weights, which has "
                f"ema={settled.ema}; set ema=0."
            )
        facts = _facts(settled, prepared, criteria)
        path = _where(recipe, run_dir, facts, engine)
        if not fresh and engine.processes.first_does(lambda: is_finished(path, facts)):
            return Fitted.from_run(path, recipe=type(recipe), held=_held(prepared))
        fork = list(range(torch.cuda.device_count()))
        with torch.random.fork_rng(devices=fork):
            torch.manual_seed(recipe.seed)
            made = assemble(settled, prepared, progress=progress, profile=profile)
            folder = _open(path, facts, engine, made.parts, fresh=fresh, track=track)
            return _train(settled, made, prepared, engine, folder)


def _facts(
    recipe: Recipe, prepared: Prepared, criteria: Mapping[str, float] | None
) -> dict[str, Any]:
    """Return what makes this run this run."""
    return {
        "recipe": recipe.name,
        "version": recipe.version,
        "config": recipe.config(),
        "source_hash": hash_of(type(recipe)),
        "seed": recipe.seed,
        "data": prepared.facts,
        "schema": schema_to_json(prepared.schema),
        "leakage": [asdict(finding) for finding in prepared.findings],
        "criteria": dict(criteria or {}),
    }


def _where(
    recipe: Recipe, run_dir: str | Path | None, facts: dict[str, Any], engine: Engine
) -> Path:
    """Return the run folder that all processes use, of the same data."""
    engine.processes.same_everywhere(facts["data"]["split_fingerprint"], "the data's fingerprint")
    if run_dir is not None:
        return Path(run_dir)
    return Path(engine.processes.first_does(lambda: str(new_run_dir(recipe))))


def _train(
    recipe: Recipe, made: Assembled, prepared: Prepared, engine: Engine, folder: RunFolder
) -> Fitted:
    parts = made.parts
    trainer = Trainer(
        parts.network.model,
        parts.method,
        parts.optimizer,
        parts.schedule,
        parts.evaluate,
        made.plan,
        engine,
        folder,
    )
    schema = prepared.schema
    task = Task(number=0, class_counts=torch.tensor(schema.class_counts))
    started = datetime.now(UTC)
    try:
        position = trainer.run(task, made.train, made.validation)
        parts = _conclude(recipe, made, prepared, trainer, position)
        seconds = {"total": (datetime.now(UTC) - started).total_seconds()}
        seconds["train"] = position.seconds
        folder.update(status="finished", finished=_now(), seconds=seconds)
    except KeyboardInterrupt:  # Interrupted is one
        _note(folder, status="interrupted")
        raise
    except Exception as error:
        _note(folder, status="failed", error=str(error))
        if is_out_of_memory(error):
            raise RunError(
                f"Out of memory on {engine.device}: {error}. A smaller microbatch= needs less, "
                "in a new run_dir."
            ) from error
        raise
    finally:
        folder.close()
    return Fitted(
        recipe, schema, parts, run_dir=folder.path, held=_held(prepared), facts=folder.facts
    )


def _conclude(
    recipe: Recipe, made: Assembled, prepared: Prepared, trainer: Trainer, position: Position
) -> Parts:
    """Fit the decision on validation, and write the model and what it says of validation."""
    parts, folder = made.parts, trainer.folder
    targets = made.validation.targets.cpu()
    logits = trainer.logits(made.validation.store)
    decision = parts.decide.fit(logits, targets)
    # Training rows as many as validation has, so that the two are compared in eval mode alike.
    few = epoch_order(len(made.train.targets), seed=recipe.seed, epoch=0)[: len(logits)]
    clean = parts.evaluate(trainer.logits(made.train.store, few), made.train.targets[few])
    if trainer.whole is not None:  # of a sharded model, which no longer is one
        parts = replace(parts, network=replace(parts.network, model=trainer.whole))
    monitor = parts.monitor

    def write() -> None:
        arrays = {**predictions_of(parts, logits), "targets": targets.numpy()}
        write_arrays(folder.path, "validation", arrays)
        rows = prepared.splits.validation
        write_subgroups(folder.path, "validation", arrays, rows, prepared.schema)
        at = {"step": position.step, "epoch": position.best["epoch"]}
        folder.log({**at, "split": "train_clean", **clean})
        folder.update(
            best={**position.best, "metric": monitor, "value": position.best[monitor]},
            last={**position.last, "metric": monitor, "value": position.last[monitor]},
            decision=asdict(decision),
        )
        facts = {"mlexpert": __version__, "data": {k: prepared.facts[k] for k in DATA_FACTS}}
        save_model(folder.path / "model", recipe, prepared.schema, parts, facts)

    trainer.processes.first_does(write)
    return parts


def _held(prepared: Prepared) -> Held:
    return Held(prepared.splits.test, prepared.facts["fingerprint"])


def _open(
    path: Path,
    facts: dict[str, Any],
    engine: Engine,
    parts: Parts,
    *,
    fresh: bool,
    track: str | None,
) -> RunFolder:
    """Make the run folder, or take up the one that an unfinished run of the same kind left."""
    earlier = engine.processes.first_does(lambda: earlier_run(path))
    model = parts.network.model
    # At most three checkpoints at once, each of weights, best weights, average and two moments.
    require_space(path, 16 * sum(value.nbytes for value in model.state_dict().values()))
    folder = RunFolder(
        path,
        {
            **facts,
            "mlexpert": __version__,
            "packages": packages(),
            "environment": {
                **environment(),
                "device": str(engine.device),
                "processes": engine.processes.count,
                "sharded": engine.is_sharded,
            },
            "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
            "status": "running",
            "started": _now() if earlier is None or fresh else earlier.get("started"),
        },
        fresh=fresh or earlier is None,
        writes=engine.processes.is_first,
    )
    folder.start_tracker(track)
    return folder


def _note(folder: RunFolder, **facts: Any) -> None:
    """Write how a run ended, where the disk still takes it: the error itself says more."""
    try:
        folder.update(**facts)
    except RunError:
        return


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
