"""What `mlexpert.compare` does: the same splits and seeds for several recipes, then one result."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from rich.console import Console

from mlexpert.comparing.admission import Admitted, admit, metrics_for
from mlexpert.comparing.comparison import COMPARISON, Comparison
from mlexpert.comparing.entrants import Entrant, entrants_of
from mlexpert.comparing.folder import ComparisonFolder, gone_on_with, identity_of, new_folder
from mlexpert.errors import InputError, RunError
from mlexpert.evidence.comparison.results import Part, metric_scores, results_of
from mlexpert.evidence.record import RunRecord, read_run
from mlexpert.evidence.repeats import Varies
from mlexpert.fitted import Fitted
from mlexpert.preparation import Roles
from mlexpert.storage.run_dir import now
from mlexpert.training.interrupt import Interrupted


def compare(
    recipes: Any,
    ds: Any,
    *,
    seeds: int | Sequence[int] = 3,
    target: str | list[str] | None = None,
    inputs: str | list[str] | None = None,
    group: str | None = None,
    time: str | None = None,
    subgroups: str | list[str] | None = None,
    sample_weight: str | ArrayLike | None = None,
    fields: Mapping[str, Any] | None = None,
    metrics: str | Sequence[str] | None = None,
    baseline: str | None = None,
    run_dir: str | Path | None = None,
    leakage: Literal["refuse", "report"] = "refuse",
    final_test: str | None = None,
    progress: bool = True,
) -> Comparison:
    """Train several recipes on one data set, on the same splits with the same seeds.

    A recipe's seed fixes the split, so every recipe gets the same rows for each seed. The repeats
    are different random splits of one data set, and differences are tested with the corrected
    resampled t-test (Nadeau and Bengio 2003); where the data brings its own split, or is split by
    time, only chance in training varies, and the test is a paired t-test. With one seed the rows
    are resampled instead. Several comparisons are adjusted by Holm.

    Args:
        recipes: Names of recipes, recipes, or a mapping of names of yours to either, such as one
            recipe with several settings. The name of a family alone stands for all its recipes;
            those that do not take this data are left out, and the result says why.
        ds: As for `fit`.
        seeds: How many repeats, with the seeds 0, 1, ...; or the seeds.
        target: As for `fit`, like the five below.
        inputs: Columns to predict from.
        group: Column whose rows stay on one side.
        time: Column to split by.
        subgroups: Columns by which the runs' own reports show results too.
        sample_weight: How much each row counts.
        fields: Fields that are set in every recipe that has them, such as {"epochs": 20}.
        metrics: What is compared, as `evaluate` names it; the first one ranks. None: the usual
            ones for what is predicted.
        baseline: The name of the recipe that the others are compared with. None: the best one,
            which costs power: p-values are then adjusted for all pairs.
        run_dir: The folder of the comparison; one that was stopped is gone on with, and runs that
            are finished are not trained again. None: a new one under `runs/`.
        leakage: As for `fit`.
        final_test: Why the sealed test split is opened, for every run; None leaves it sealed, and
            validation is compared.
        progress: Whether to say which run it is, and to show its progress bar.

    Returns:
        The results; recipes that failed are in `.failed`, and do not cost the others.

    Raises:
        InputError: If recipes, data, roles, fields or the folder are refused; nothing was trained.
        RunError: If every run failed.
        Interrupted: On Ctrl-C or SIGTERM; the message says how to go on.

    Example:
        >>> import mlexpert
        >>> names = ["imbalanced-cls", "imbalanced-cls/plain"]
        >>> found = mlexpert.compare(names, "demo", seeds=2, fields={"epochs": 1})  # doctest: +SKIP
        >>> found.table  # doctest: +SKIP
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("compare trains in one process; start it without torchrun.")
    if final_test is not None and not final_test.strip():
        raise InputError("final_test needs a reason, such as 'table 1'; the ledger keeps it.")
    numbers = seeds_of(seeds)
    entrants = entrants_of(recipes, fields)
    roles = Roles(target, inputs, group, time, subgroups, sample_weight)
    admitted = admit(entrants, ds, roles, seed=numbers[0], leakage=leakage)
    names = [one.name for one in admitted.entrants]
    chosen = metrics_for(admitted.schema, metrics)
    if baseline is not None and baseline not in names:
        raise InputError(f"baseline={baseline!r} takes no part; it is one of: {', '.join(names)}.")
    if final_test is not None and not admitted.has_test:
        raise InputError("final_test: there is no test split, as test=0; nothing can be opened.")
    path = Path(run_dir) if run_dir is not None else new_folder(names)
    about = {
        "seeds": numbers,
        "metrics": chosen,
        "baseline": baseline,
        "final_test": final_test,
        "objective": admitted.schema.objective,
        "data": admitted.facts,
        "recipes": {one.name: identity_of(one) for one in admitted.entrants},
        "left_out": admitted.left_out,
    }
    folder = ComparisonFolder(path, gone_on_with(path, about))

    def fit(one: Entrant, seed: int, place: Path) -> Fitted:
        return replace(one.recipe, seed=seed).fit(
            ds, **vars(roles), run_dir=place, leakage=leakage, progress=progress
        )

    _fit_all(folder, admitted, numbers, fit, final_test, progress)
    _conclude(folder, admitted, roles)
    return Comparison(path)


def seeds_of(seeds: int | Sequence[int]) -> list[int]:
    """Return the seeds of a comparison: those given, or as many from 0 on.

    Raises:
        InputError: If there are none, one occurs twice, or one is no seed.
    """
    if isinstance(seeds, bool) or not isinstance(seeds, int | Sequence | np.ndarray):
        raise InputError(f"seeds={seeds!r}; give how many, or the seeds: seeds=3, seeds=[0, 7].")
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    whole = all(isinstance(one, int | np.integer) and not isinstance(one, bool) for one in numbers)
    if not numbers or not whole or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise InputError(
            f"seeds={seeds!r}; it takes a number of repeats, at least 1, or different seeds of 0 "
            "or more."
        )
    return [int(one) for one in numbers]


def _fit_all(
    folder: ComparisonFolder,
    admitted: Admitted,
    seeds: Sequence[int],
    fit: Any,
    reason: str | None,
    progress: bool,
) -> None:
    """Train every recipe with the first seed, then all with the next: what is there compares."""
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.update()
    total, number = len(seeds) * len(admitted.entrants), 0
    splits: dict[int, str] = {}
    for seed in seeds:
        for one in admitted.entrants:
            number += 1
            place = folder.place(one, seed)
            if progress:
                which = f"{one.name}, seed {seed} (run {number} of {total})"
                Console(stderr=True).print(which, style="dim", highlight=False)
            run = {"name": one.name, "seed": seed, "run": f"{one.folder}/{seed}"}
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                fitted = fit(one, seed, place)
                split = fitted.facts["data"]["split_fingerprint"]
                if splits.setdefault(seed, split) != split:
                    raise RunError(
                        f"its split with seed {seed} is not that of the other recipes, so the "
                        "two cannot be compared."
                    )
                if reason is not None:
                    _open_once(fitted, reason)
                folder.note({**run, "status": "finished", **_facts_of(fitted)})
            except KeyboardInterrupt as stop:
                folder.note({**run, "status": "interrupted"})
                folder.update(status="interrupted")
                raise Interrupted(
                    f"Stopped in {one.name}, seed {seed} (run {number} of {total}); what was "
                    "trained is kept. To go on, compare again with the same data and "
                    f"run_dir={str(folder.path)!r} (--run-dir)."
                ) from stop
            except Exception as error:
                folder.note({**run, "status": "failed", **_failure(error)})
                if progress:
                    Console(stderr=True).print(
                        f"{one.name}, seed {seed} failed: {error}", style="red", highlight=False
                    )


def _open_once(fitted: Fitted, reason: str) -> None:
    """Open a run's test split, unless an earlier call of the comparison did for this reason."""
    if all(opening["reason"] != reason for opening in fitted.final_tests()):
        fitted.final_test(reason=reason)


def _facts_of(fitted: Fitted) -> dict[str, Any]:
    return {
        "split": fitted.facts["data"]["split_fingerprint"],
        "seconds": (fitted.facts.get("seconds") or {}).get("total"),
        "parameters": fitted.facts.get("num_parameters"),
    }


def _failure(error: Exception) -> dict[str, str]:
    """Return what is to be said of an error; of one that nobody foresaw, where it came from."""
    if isinstance(error, InputError | RunError):
        return {"error": str(error)}
    lines = traceback.format_exception(error)
    return {"error": f"{type(error).__name__}: {error}", "traceback": "".join(lines)}


def _conclude(folder: ComparisonFolder, admitted: Admitted, roles: Roles) -> None:
    """Read the finished runs, and write what they say together."""
    facts = folder.facts
    finished = [run for run in facts["runs"] if run["status"] == "finished"]
    if not finished:
        folder.update(status="failed", finished=now())
        first = facts["runs"][0]
        raise RunError(
            f"every run failed; the first one, of {first['name']}: {first['error']} "
            f"{folder.path / COMPARISON} has the others."
        )
    part: Part = "validation" if facts["final_test"] is None else "test"
    runs: dict[str, dict[int, RunRecord]] = {one.name: {} for one in admitted.entrants}
    for run in finished:
        record = read_run(folder.path / run["run"])
        run["validation"], run["test"] = (
            metric_scores(record, "validation"),
            metric_scores(record, "test"),
        )
        runs[run["name"]][run["seed"]] = record
    varies = _what_varies(part, {run["split"] for run in finished}, admitted, facts["seeds"])
    groups = admitted.groups if part == "validation" else None
    results = results_of(
        runs,
        seeds=facts["seeds"],
        metrics=facts["metrics"],
        part=part,
        varies=varies,
        baseline=facts["baseline"],
        groups=groups,
        is_grouped=roles.group is not None,
    )
    folder.update(
        status="finished",
        finished=now(),
        setup=_setup(record for own in runs.values() for record in own.values()),
        results=results,
    )


def _what_varies(part: Part, splits: set[str], admitted: Admitted, seeds: Sequence[int]) -> Varies:
    if len(seeds) == 1:
        return "rows"
    return "training" if part in admitted.user_made or len(splits) == 1 else "splits"


def _setup(records: Any) -> list[dict[str, Any]]:
    """Return on what the runs were made: each different setting once."""
    found: list[dict[str, Any]] = []
    for record in records:
        environment = record.run.get("environment") or {}
        one = {
            **(record.run.get("packages") or {}),
            **{key: environment.get(key) for key in ("python", "platform", "cpu", "gpu", "device")},
        }
        if one not in found:
            found.append(one)
    return found
