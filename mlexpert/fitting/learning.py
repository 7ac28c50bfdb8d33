"""Learning on: a model that learned a stream is given more of it, classes never met included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from mlexpert.data.nearest import listing
from mlexpert.data.schema import Schema
from mlexpert.data.splits import Splits
from mlexpert.data.tasks.join_examples import join_examples
from mlexpert.errors import InputError
from mlexpert.families.learner_state import take_over
from mlexpert.fitted import Fitted
from mlexpert.fitted.continual import ContinualFitted, numbered
from mlexpert.fitted.held import held_of
from mlexpert.fitted.loading import from_run
from mlexpert.fitting.fit import Shown, facts_of, fit_one, where_to
from mlexpert.preparation import Prepared, Roles, heed, prepare
from mlexpert.storage.row_digests import read_digests, row_keys
from mlexpert.storage.run_dir import is_finished
from mlexpert.training.precision import Engine


def learn(
    fitted: ContinualFitted,
    more: Any,
    *,
    target: str | None = None,
    inputs: str | list[str] | None = None,
    group: str | None = None,
    sample_weight: str | ArrayLike | None = None,
    run_dir: str | Path | None = None,
    fresh: bool = False,
    leakage: Literal["refuse", "report"] = "refuse",
    criteria: Mapping[str, float] | None = None,
    progress: bool = True,
) -> ContinualFitted:
    """Train on new data as the next task, with all that the method remembers of those before.

    The rows are split and audited as in `fit`. Classes that were never met become new outputs; the
    weights and statistics of the earlier ones stay. The optimiser begins anew.

    Args:
        fitted: The model so far; it is left as it is.
        more: Rows of the same kind and columns: one task, or a stream of several.
        target: As in `fit`. None: as in the first fit; so are the other roles.
        inputs: As in `fit`.
        group: As in `fit`.
        sample_weight: As in `fit`.
        run_dir: The folder of this run, which is another one than the first fit's.
        fresh: Start anew in a folder that holds another run.
        leakage: As in `fit`.
        criteria: As in `fit`.
        progress: Whether to show a progress bar.

    Returns:
        The model that knows both. Its record says how well earlier tasks are known yet where their
        validation rows are at hand: in this process, or in a source that can be read again.

    Raises:
        InputError: If the data are refused; new classes come where the scenario has none, or known
            ones where every task has its own; a training row is a validation or test row of an
            earlier task, which the memory would then hold.
        RunError: If training could not go on.
        Interrupted: On Ctrl-C; the same call with the same `run_dir` goes on.
    """
    recipe = fitted.recipe
    if recipe.num_stretches(2) == 1:
        raise InputError(
            f"{recipe.name} trains on all rows at once; fit it again on the old and the new ones."
        )
    known = fitted.facts["data"]["roles"]
    roles = Roles(
        known["target"] if target is None else target,
        known["inputs"] if inputs is None else inputs,
        known["group"] if group is None else group,
        sample_weight=known["sample_weight"] if sample_weight is None else sample_weight,
    )
    engine = Engine(recipe.precision, sharded=recipe.sharded)
    with engine.processes:
        new = prepare(recipe.for_more(), more, roles)
        heed(new.findings, leakage)
        _refuse_kind(fitted.schema, new)
        _refuse_labels(recipe.scenario, fitted.schema, new.schema)
        _refuse_held_rows(fitted, new.splits)
        prepared = _following(fitted, new)
        recipe.accept(prepared.schema)
        facts = facts_of(recipe, [prepared], criteria)
        classes = [*fitted.classes_by_task(), *facts["stream"]["classes"][fitted.num_tasks :]]
        facts["stream"] |= {
            "first_task": fitted.num_tasks,
            "classes": classes,
            "before": fitted.task_rows(),
        }
        facts["learned_from"] = {
            "fingerprint": fitted.facts["data"]["fingerprint"],
            "run": None if fitted.run_dir is None else str(fitted.run_dir.absolute()),
        }
        path = where_to(recipe, run_dir, facts, engine)
        if not fresh and engine.processes.first_does(lambda: is_finished(path, facts)):
            return _learned(from_run(path, recipe=type(recipe), held=held_of([prepared])))
        shown = Shown(None, profile=False, progress=progress)
        start = partial(take_over, fitted.parts)
        return _learned(
            fit_one(recipe, prepared, path, facts, engine, shown, fresh=fresh, start=start)
        )


def _learned(fitted: Fitted) -> ContinualFitted:
    assert isinstance(fitted, ContinualFitted), "it is of a recipe for streams"
    return fitted


def _refuse_kind(schema: Schema, new: Prepared) -> None:
    if schema.kind != new.schema.kind:
        raise InputError(f"The model reads {schema.kind} rows, and these are {new.schema.kind}.")
    names = {column.name for column in schema.columns}
    there = {column.name for column in new.schema.columns}
    if names - there:
        raise InputError(
            f"The new rows lack the column(s) {listing(sorted(names - there))}, which the model "
            f"was trained with; they have {listing(sorted(there))}."
        )


def _refuse_labels(scenario: str, schema: Schema, new: Schema) -> None:
    """Raise an error where labels are new, or are not, against what the scenario says of them."""
    unknown = [label for label in new.classes if label not in schema.classes]
    returning = [label for label in new.classes if label in schema.classes]
    if {type(label) for label in unknown} - {type(label) for label in schema.classes}:
        raise InputError(
            f"The new labels, {listing(unknown)}, are of another type than those so far, "
            f"{listing(schema.classes)}: write them alike."
        )
    if scenario == "domain" and unknown:
        raise InputError(
            f"Label(s) {listing(unknown)} are new, and with scenario='domain' all tasks have the "
            f"same: {listing(schema.classes)}. Fit with scenario='class' to learn new ones."
        )
    if scenario == "task" and returning:
        raise InputError(
            f"Label(s) {listing(returning)} were met in an earlier task, and with scenario='task' "
            "every task has its own. Fit with scenario='class' or 'domain'."
        )


def _refuse_held_rows(fitted: ContinualFitted, new: Splits) -> None:
    """Raise an error where a row is trained on here and judged by there, or the other way round."""
    earlier, now = (
        {name: row_keys(digests) for name, digests in found.items()}
        for found in (read_digests(fitted.run_dir), new.digests)
    )
    if not earlier:
        return
    judged = np.concatenate([keys for name, keys in earlier.items() if name != "train"])
    kept = int(np.isin(now["train"], judged).sum())
    if kept:
        raise InputError(
            f"{kept} of the new training rows are validation or test rows of an earlier task: the "
            "memory would hold them, and what they say of the model would be worth nothing. Take "
            "them out."
        )
    for name in ("validation", "test"):
        trained = int(np.isin(now.get(name, now["train"][:0]), earlier["train"]).sum())
        if trained:
            raise InputError(
                f"{trained} of the new {name} rows were trained on in an earlier task. Take them "
                "out, or bring a split of your own in which they are training rows."
            )


def _following(fitted: ContinualFitted, new: Prepared) -> Prepared:
    """Return the new rows as the tasks that follow, with the validation rows of those before."""
    first, splits = fitted.num_tasks, new.splits
    train, validation = (numbered(part, first) for part in (splits.train, splits.validation))
    before = fitted.validation_so_far()
    if before is not None:
        validation = join_examples([before, validation])
    schema = _grown(fitted.schema, new.schema)
    own = dict(zip(new.schema.classes, new.schema.class_counts, strict=True))
    counts = [own.get(label, 0) for label in schema.classes]
    parts = {
        **new.facts["parts"],
        "train": {"rows": len(train), "class_counts": counts},
        "validation": {"rows": len(validation)},
    }
    digests = dict(splits.digests)
    for name, earlier in read_digests(fitted.run_dir).items():
        digests[name] = np.concatenate([earlier, digests.get(name, earlier[:0])])
    splits = replace(splits, train=train, validation=validation, digests=digests)
    return replace(new, splits=splits, schema=schema, facts={**new.facts, "parts": parts})


def _grown(schema: Schema, new: Schema) -> Schema:
    """Return the schema with the classes of both: new ones come after those so far."""
    counts = dict(zip(schema.classes, schema.class_counts, strict=True))
    names = dict(zip(schema.classes, schema.class_names, strict=True))
    for label, count, name in zip(new.classes, new.class_counts, new.class_names, strict=True):
        counts[label] = counts.get(label, 0) + count
        names.setdefault(label, name)
    return replace(
        schema,
        classes=tuple(counts),
        class_names=tuple(names.values()),
        class_counts=tuple(counts.values()),
        num_rows=schema.num_rows + new.num_rows,
        weighted_counts=(),  # one mean weight for rows of several tasks is not known
    )
