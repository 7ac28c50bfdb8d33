"""What `recipe.fit(ds)` does, in order: read, split, audit, build, train, calibrate, record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch

from mlexpert import __version__
from mlexpert.data.batches import epoch_order
from mlexpert.data.encode import encode_targets
from mlexpert.data.examples import Examples
from mlexpert.data.schema import Schema, schema_to_json
from mlexpert.environment import environment, packages
from mlexpert.errors import InputError, RunError
from mlexpert.fitted import DATA_FACTS, Fitted, Held
from mlexpert.model_folder import save_model
from mlexpert.predictions import predictions_of, write_arrays, write_subgroups
from mlexpert.preparation import Prepared, Roles, heed, prepare
from mlexpert.recipe import Parts, Recipe
from mlexpert.recipe_card import hash_of
from mlexpert.run_dir import earlier_run, is_finished, new_run_dir
from mlexpert.training.method import Task
from mlexpert.training.precision import Engine
from mlexpert.training.tracking import RunFolder, require_space
from mlexpert.training.trainer import Data, Plan, Position, Trainer, logits_of


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
        progress: Whether to show a progress bar.

    Returns:
        The trained model with its evidence.

    Raises:
        InputError: If data, roles, fields or run folder are refused; nothing was trained.
        RunError: If training could not go on; the message says what is kept.
        Interrupted: On Ctrl-C or SIGTERM; the message says how to go on.
    """
    roles = Roles(target, inputs, group, time, subgroups)
    if leakage not in ("refuse", "report"):
        raise InputError(f"leakage={leakage!r}; it takes 'refuse' or 'report'.")
    if track not in (None, "tensorboard"):
        raise InputError(f"track={track!r}; it takes None or 'tensorboard'.")
    for metric, minimum in (criteria or {}).items():
        if isinstance(minimum, bool) or not isinstance(minimum, int | float):
            raise InputError(f"criteria: {metric!r} is {minimum!r}; give the smallest number.")
    prepared = prepare(recipe, ds, roles)
    heed(prepared.findings, leakage)
    settled = recipe.settle(prepared.schema)
    path = Path(run_dir) if run_dir is not None else new_run_dir(recipe)
    facts = {
        "recipe": recipe.name,
        "version": recipe.version,
        "config": settled.config(),
        "source_hash": hash_of(type(recipe)),
        "seed": recipe.seed,
        "data": prepared.facts,
        "schema": schema_to_json(prepared.schema),
        "leakage": [asdict(finding) for finding in prepared.findings],
        "criteria": dict(criteria or {}),
    }
    if not fresh and is_finished(path, facts):
        return Fitted.from_run(path, recipe=type(recipe), held=_held(prepared))
    fork = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=fork):
        torch.manual_seed(recipe.seed)
        engine = Engine(settled.precision, log_with=track, project_dir=str(path))
        parts = settled.build(prepared.schema)
        train = _encode(parts, prepared.splits.train, prepared.schema)
        validation = _encode(parts, prepared.splits.validation, prepared.schema)
        folder = _open(path, facts, engine, parts, fresh=fresh, track=track)
        return _train(
            settled, parts, train, validation, prepared, engine, folder, progress=progress
        )


def _train(
    recipe: Recipe,
    parts: Parts,
    train: Data,
    validation: Data,
    prepared: Prepared,
    engine: Engine,
    folder: RunFolder,
    *,
    progress: bool,
) -> Fitted:
    trainer = Trainer(
        parts.network.model,
        parts.method,
        parts.optimizer,
        parts.schedule,
        parts.evaluate,
        plan_of(recipe, parts, progress=progress),
        engine,
        folder,
    )
    schema = prepared.schema
    task = Task(number=0, class_counts=torch.tensor(schema.class_counts))
    started = datetime.now(UTC)
    try:
        position = trainer.run(task, train, validation)
        _conclude(recipe, parts, train, validation, prepared, engine, folder, position)
        seconds = {"total": (datetime.now(UTC) - started).total_seconds()}
        seconds["train"] = position.seconds
        folder.update(status="finished", finished=_now(), seconds=seconds)
    except KeyboardInterrupt:  # Interrupted is one
        _note(folder, status="interrupted")
        raise
    except Exception as error:
        _note(folder, status="failed", error=str(error))
        if _is_out_of_memory(error):
            raise RunError(
                f"Out of memory on {engine.device}: {error}. A smaller microbatch= needs less."
            ) from error
        raise
    finally:
        folder.close()
    return Fitted(
        recipe, schema, parts, run_dir=folder.path, held=_held(prepared), facts=folder.facts
    )


def _conclude(
    recipe: Recipe,
    parts: Parts,
    train: Data,
    validation: Data,
    prepared: Prepared,
    engine: Engine,
    folder: RunFolder,
    position: Position,
) -> None:
    """Fit the decision on validation, and write the model and what it says of validation."""
    logits = logits_of(parts.network.model, validation.store, engine.device)
    decision = parts.decide.fit(logits, validation.targets.cpu())
    arrays = {**predictions_of(parts, logits), "targets": validation.targets.cpu().numpy()}
    write_arrays(folder.path, "validation", arrays)
    rows = prepared.splits.validation
    write_subgroups(folder.path, "validation", arrays, rows, prepared.schema)
    # Training rows as many as validation has, so that the two are compared in eval mode alike.
    few = epoch_order(len(train.targets), seed=recipe.seed, epoch=0)[: len(logits)]
    clean_logits = logits_of(parts.network.model, train.store, engine.device, few)
    clean = parts.evaluate(clean_logits, train.targets[few])
    at = {"step": position.step, "epoch": position.best["epoch"]}
    folder.log({**at, "split": "train_clean", **clean})
    monitor = parts.monitor
    folder.update(
        best={**position.best, "metric": monitor, "value": position.best[monitor]},
        last={**position.last, "metric": monitor, "value": position.last[monitor]},
        decision=asdict(decision),
    )
    data = {key: prepared.facts[key] for key in DATA_FACTS}
    save_model(
        folder.path / "model",
        recipe,
        prepared.schema,
        parts,
        {"mlexpert": __version__, "data": data},
    )


def plan_of(recipe: Recipe, parts: Parts, *, progress: bool) -> Plan:
    """Return what the trainer needs of a settled recipe."""
    assert recipe.epochs is not None and recipe.batch_size is not None, (
        "fit settles a recipe before it trains"
    )
    return Plan(
        seed=recipe.seed,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        microbatch=recipe.microbatch,
        patience=recipe.patience or 0,
        clip_norm=recipe.clip_norm or 0.0,
        ema=recipe.ema or 0.0,
        monitor=parts.monitor,
        show_progress=progress,
    )


def _encode(parts: Parts, examples: Examples, schema: Schema) -> Data:
    targets = encode_targets(examples.targets, schema)
    return Data(parts.network.encode(examples), targets)


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
    earlier = earlier_run(path)
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
                "precision": engine.precision,
            },
            "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
            "status": "running",
            "started": _now() if earlier is None or fresh else earlier.get("started"),
        },
        fresh=fresh or earlier is None,
    )
    folder.start_tracker(engine.accelerator if track else None)
    return folder


def _note(folder: RunFolder, **facts: Any) -> None:
    """Write how a run ended, where the disk still takes it: the error itself says more."""
    try:
        folder.update(**facts)
    except RunError:
        return


def _is_out_of_memory(error: Exception) -> bool:
    """Tell a memory error: on a CPU torch raises a plain RuntimeError."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(
        error
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
