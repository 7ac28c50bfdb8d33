"""What `mlexpert.compare` does: the same splits and seeds for several recipes, then one result."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from rich.console import Console

from mlexpert import __version__
from mlexpert.admission import Admitted, admit, metrics_for
from mlexpert.comparison import COMPARISON, Comparison, read_comparison
from mlexpert.entrants import Entrant, entrants_of
from mlexpert.errors import InputError, RunError
from mlexpert.evidence.comparison_results import Part, metric_scores, results_of
from mlexpert.evidence.record import RunRecord, read_run
from mlexpert.evidence.repeats import Varies
from mlexpert.fitted import Fitted
from mlexpert.preparation import Roles
from mlexpert.recipe_card import hash_of
from mlexpert.run_dir import now
from mlexpert.training.interrupt import Interrupted
from mlexpert.training.tracking import write_json


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
    path = Path(run_dir) if run_dir is not None else _new_folder(names)
    about = {
        "seeds": numbers,
        "metrics": chosen,
        "baseline": baseline,
        "final_test": final_test,
        "objective": admitted.schema.objective,
        "data": admitted.facts,
        "recipes": {one.name: _identity(one) for one in admitted.entrants},
        "left_out": admitted.left_out,
    }
    folder = _Folder(path, _go_on(path, about))

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


@dataclass
class _Folder:
    """The folder of a comparison and what its `comparison.json` says so far."""

    path: Path
    facts: dict[str, Any]

    def place(self, one: Entrant, seed: int) -> Path:
        """Return the run folder of a recipe and seed."""
        return self.path / one.folder / str(seed)

    def note(self, run: dict[str, Any]) -> None:
        """Write down how a run ended."""
        self.update(runs=[*self.facts["runs"], run])

    def update(self, **facts: Any) -> None:
        """Write further facts."""
        self.facts |= facts
        write_json(self.path / COMPARISON, self.facts)


def _new_folder(names: Sequence[str]) -> Path:
    families = {name.split("/")[0] for name in names}
    what = f"-{families.pop()}" if len(families) == 1 else ""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in what)
    stem = f"compare{safe}-{datetime.now().strftime('%Y%m%d-%H%M%S')}"
    path, number = Path("runs") / stem, 2
    while path.exists():
        path, number = Path("runs") / f"{stem}-{number}", number + 1
    return path


def _identity(one: Entrant) -> dict[str, Any]:
    """Return what makes a recipe of the comparison this one."""
    recipe = one.recipe
    config = {name: value for name, value in recipe.config().items() if name != "seed"}
    return {
        "recipe": recipe.name,
        "version": recipe.version,
        "source_hash": hash_of(type(recipe)),
        "config": config,
        "folder": one.folder,
    }


def _go_on(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a new comparison, or of one that is gone on with in this folder.

    Raises:
        InputError: If the folder holds something else, or a comparison of other data or settings.
    """
    known = {**about, "mlexpert": __version__, "status": "running", "started": now(), "runs": []}
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return known
    earlier = read_comparison(path)
    differences = []
    if earlier["data"]["fingerprint"] != about["data"]["fingerprint"]:
        differences.append("the data")
    if earlier["data"]["roles"] != _as_json(about["data"]["roles"]):
        differences.append("the roles of the columns")
    for name, one in about["recipes"].items():
        before = earlier["recipes"].get(name)
        if before is None:
            continue
        one = _as_json(one)
        for key in ("recipe", "version", "source_hash"):
            if before[key] != one[key]:
                differences.append(f"{key} of {name}")
        for field in sorted(before["config"].keys() | one["config"].keys()):
            there, here = before["config"].get(field), one["config"].get(field)
            if there != here:
                differences.append(f"{name}: {field} is {there} there, {here} here")
    if differences:
        raise InputError(
            f"{path} holds another comparison; it differs in {'; '.join(differences)}. "
            "Choose another run_dir."
        )
    return {**known, "started": earlier["started"]}


def _as_json(value: Any) -> Any:
    """Return a value as it comes back from JSON."""
    if isinstance(value, Mapping):
        return {str(key): _as_json(one) for key, one in value.items()}
    return [_as_json(one) for one in value] if isinstance(value, list | tuple) else value


def _fit_all(
    folder: _Folder,
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


def _conclude(folder: _Folder, admitted: Admitted, roles: Roles) -> None:
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
