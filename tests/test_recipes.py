"""One conformance suite over the whole catalogue: what every recipe promises."""

from __future__ import annotations

import dataclasses
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import mlexpert
from mlexpert.copying import copy_recipe
from mlexpert.data.encode import encode_targets
from mlexpert.data.examples import Examples
from mlexpert.families.adversarial import AdversarialRecipe
from mlexpert.families.continual import ContinualRecipe
from mlexpert.families.solved import SolvedRecipe
from mlexpert.fitted import Fitted
from mlexpert.preparation import Roles, prepare
from mlexpert.recipe import Recipe
from mlexpert.recipes import CATALOGUE, describe, get
from mlexpert.recipes.sequence_cls.multi_rocket import MultiRocketCls
from mlexpert.training.interrupt import Interrupted
from mlexpert.training.method import Batch
from mlexpert.training.step import Step
from tests.small_data import numbers, of_kind, table

PINNED = [f"{row.name}@{row.version}" for row in CATALOGUE]
CLASSES = dict(zip(PINNED, (row.load() for row in CATALOGUE), strict=True))
KINDS = {  # those of sequences have a suite of their own, test_sequence_recipes.py
    name: made.kinds for name, made in CLASSES.items() if made.objective != "sequences"
}
TRIED = {
    # Recipes of a family share their networks: each is tried on one kind, the next on another.
    name: kinds[number % len(kinds) :][:1] if "/" in name else kinds
    for number, (name, kinds) in enumerate(KINDS.items())
}
every_recipe = pytest.mark.parametrize("name", PINNED)
every_recipe_of_rows = pytest.mark.parametrize("name", list(KINDS))
every_recipe_and_kind = pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, kinds in TRIED.items() for kind in kinds]
)
every_trained_recipe_and_kind = pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name, kinds in TRIED.items()
        if not isinstance(get(name), SolvedRecipe | MultiRocketCls)  # which make no steps
        for kind in kinds
    ],
)
every_classifier_and_kind = pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in TRIED if get(name).objective == "classes" for kind in TRIED[name]],
)


QUICK = {"batch_size": 32, "microbatch": None, "precision": "fp32", "channels_last": False}
"""What makes a training short, and the same on every machine: what fits in memory, and which
arithmetic is the fastest, is looked at elsewhere."""
LOOKED_AT = {"steps": 1, "judged": 20}
"""What makes attacks short."""


def quick(name: str, **fields) -> Recipe:
    """Return a recipe that trains in a moment."""
    made = get(name, **{"epochs": 2, **QUICK, **fields})
    if isinstance(made, AdversarialRecipe):
        made = dataclasses.replace(made, **LOOKED_AT | {"steps": min(made.steps, 2)})
    return made


def data_for(recipe: Recipe, kind: str):
    return numbers() if recipe.objective == "values" else of_kind(kind, classes_of(recipe))


def classes_of(recipe: Recipe) -> int:
    return 3 if recipe.name == "imbalanced-cls/tau-norm" else 2


def fit(recipe: Recipe, kind: str, run_dir: Path) -> Fitted:
    return recipe.fit(data_for(recipe, kind), run_dir=run_dir, progress=False)


@pytest.fixture(scope="module")
def fitted_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Fitted]:
    """Return what fits a recipe to a kind of data, once for all tests that only look at it."""

    @cache
    def fitted(name: str, kind: str) -> Fitted:
        return fit(quick(name), kind, tmp_path_factory.mktemp("once"))

    return fitted


def rows_on_disk(recipe: Recipe, kind: str, folder: Path) -> tuple[str, list[str]]:
    """Write the recipe's data as a user has them; return their name and the target's option."""
    ds = data_for(recipe, kind)
    if kind == "image":
        for number, (pixels, label) in enumerate(zip(*ds, strict=True)):
            (folder / f"rows/{label}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"rows/{label}/{number}.png")
        return "rows", []
    if kind == "series":
        ds.to_parquet(folder / "rows.parquet", index=False)
        return "rows.parquet", ["--target", ds.columns[-1]]
    ds.to_csv(folder / "rows.csv", index=False)
    return "rows.csv", ["--target", ds.columns[-1]]


def drawn(figure: Figure, file: TextIO, **_: Any) -> None:
    """Draw nothing, which is most of a report's time: figures are looked at in tests/evidence."""
    file.write("<svg><defs></defs></svg>")


def weights(fitted: Fitted) -> torch.Tensor:
    state = fitted.parts.network.model.state_dict().values()
    return torch.cat([value.double().flatten() for value in state])


def rows_of(kind: str):
    """Return the inputs alone."""
    ds = of_kind(kind)
    return ds[0] if isinstance(ds, tuple) else ds.iloc[:, :-1]


@every_recipe
def test_row_and_class_agree(name: str) -> None:
    row = next(row for row in CATALOGUE if f"{row.name}@{row.version}" == name)
    recipe = row.load()
    assert (recipe.name, recipe.version) == (row.name, row.version)


@every_recipe
def test_every_field_is_documented_and_the_paper_is_named(name: str) -> None:
    card = describe(name)
    assert card["claim"].endswith(".") and card["paper"] and card["differs"] and card["results"]
    undocumented = [field["name"] for field in card["fields"] if not field["doc"].endswith(".")]
    assert undocumented == []
    assert {field["name"] for field in card["fields"]} == {
        field.name for field in dataclasses.fields(get(name))
    }


@every_recipe
def test_results_are_where_the_card_says(name: str) -> None:
    root = Path(mlexpert.__file__).parents[1]
    assert (root / describe(name)["results"].strip()).is_file()


@every_recipe
def test_is_frozen_and_serialisable(name: str) -> None:
    recipe = get(name, epochs=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.epochs = 4
    assert get(name, **json.loads(json.dumps(recipe.config()))) == recipe


@every_recipe_and_kind
def test_builds_with_its_defaults(name: str, kind: str) -> None:
    recipe = get(name)
    schema = prepare(recipe, data_for(recipe, kind), Roles()).schema
    settled = recipe.settle(schema)
    assert recipe == get(name)
    assert None not in [settled.epochs, settled.batch_size, settled.lr, settled.patience]
    parts = settled.build(schema)
    assert sum(p.numel() for p in parts.network.model.parameters() if p.requires_grad) > 10


@every_recipe_and_kind
def test_same_seed_same_weights_and_another_seed_others(
    name: str, kind: str, fitted_once: Callable[[str, str], Fitted], tmp_path: Path
) -> None:
    recipe = quick(name)
    first = weights(fitted_once(name, kind))
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    again = weights(fit(recipe, kind, tmp_path / "again"))
    assert torch.rand(1) == expected  # the global generator is left alone
    other = weights(fit(dataclasses.replace(recipe, seed=1), kind, tmp_path / "other"))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


@every_trained_recipe_and_kind
def test_resuming_equals_not_stopping_bit_for_bit(
    name: str,
    kind: str,
    fitted_once: Callable[[str, str], Fitted],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe, whole = quick(name), fitted_once(name, kind)
    steps, step = 0, Step.__call__

    def stop(self: Step, *args: Any, **named: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *args, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Step, "__call__", stop)
        with pytest.raises(Interrupted, match="run_dir="):
            fit(recipe, kind, tmp_path / "broken")
    assert json.loads((tmp_path / "broken/run.json").read_text())["status"] == "interrupted"
    resumed = fit(recipe, kind, tmp_path / "broken")
    assert torch.equal(weights(whole), weights(resumed))
    assert whole.evaluate() == pytest.approx(resumed.evaluate(), nan_ok=True, abs=0)


@every_trained_recipe_and_kind
def test_overfits_a_tiny_batch(name: str, kind: str) -> None:
    recipe = get(name)
    if isinstance(recipe, ContinualRecipe):
        recipe = dataclasses.replace(recipe, num_tasks=1)
    if isinstance(recipe, AdversarialRecipe):
        recipe = dataclasses.replace(recipe, steps=min(recipe.steps, 2))
    prepared = prepare(recipe, data_for(recipe, kind), Roles())
    torch.manual_seed(0)
    settled = recipe.settle(prepared.schema)
    parts = settled.build(prepared.schema)
    few = prepared.splits.train.select(np.arange(16))
    inputs = parts.network.encode(few).take(torch.arange(16))
    batch = Batch(inputs, encode_targets(few.targets, prepared.schema), torch.arange(16))
    model = parts.network.model.train()
    if isinstance(recipe, ContinualRecipe):  # only classes that came can be meant
        batch = parts.method.draw(model, batch)
    for _ in range(150):
        parts.optimizer.zero_grad()
        loss = parts.method.loss(model, batch)
        (loss.total / loss.count).backward()
        parts.optimizer.step()
    with torch.no_grad():
        outputs = parts.network.model.eval()(batch.inputs)
    decided = parts.decide.decide(outputs)
    if recipe.objective == "values":
        values = prepared.schema.values
        assert np.abs(decided.numpy() - few.targets).max() < 0.3 * values.std
    else:
        assert (decided == batch.targets).float().mean() == 1.0


@every_recipe_and_kind
def test_save_and_load_give_equal_predictions(
    name: str, kind: str, fitted_once: Callable[[str, str], Fitted], tmp_path: Path
) -> None:
    fitted = fitted_once(name, kind)
    rows = rows_of(kind)
    fitted.save(tmp_path / "model")
    loaded = mlexpert.load(tmp_path / "model")
    assert np.array_equal(fitted.predict(rows), loaded.predict(rows))
    if fitted.recipe.objective == "classes":
        assert np.array_equal(fitted.predict_proba(rows), loaded.predict_proba(rows))
        assert np.array_equal(fitted.classes_, loaded.classes_)
    endings = {path.suffix for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert endings <= {".safetensors", ".json"}


@every_classifier_and_kind
def test_predictions_speak_of_the_users_labels(
    name: str, kind: str, fitted_once: Callable[[str, str], Fitted]
) -> None:
    fitted = fitted_once(name, kind)
    ds = data_for(get(name), kind)
    labels = ds[1] if isinstance(ds, tuple) else ds.iloc[:, -1].to_numpy()
    probabilities = fitted.predict_proba(rows_of(kind))
    assert set(fitted.predict(rows_of(kind))) <= set(labels) == set(fitted.classes_)
    assert probabilities.shape == (len(labels), classes_of(get(name)))
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@every_recipe_of_rows
def test_the_copied_file_runs_from_any_folder(
    name: str, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a script; the first recipe as it comes and in a process of its own, the others quickly."""
    file = copy_recipe(name, cwd / "mine.py")
    data, target = rows_on_disk(get(name), KINDS[name][0], cwd)
    words = [str(file), data, *target, "--epochs", "1", "--run-dir", "out"]
    if name != "imbalanced-cls@1":
        fields = dict(QUICK)
        if isinstance(get(name), AdversarialRecipe):
            fields |= LOOKED_AT
        words += [word for field in fields.items() for word in ("--set", "{}={}".format(*field))]
    if name == "imbalanced-cls@1":
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    else:
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.setattr(Figure, "savefig", drawn)
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(file), run_name="__main__")
        assert ended.value.code in (0, None)
    assert (cwd / "out/report.html").is_file()


@every_recipe_of_rows
def test_validation_and_test_rows_are_never_trained_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batches that a fit draws are exactly the training rows, each once an epoch.

    Where a recipe draws them, they are some of these; rows that it makes come behind them.
    """
    seen: list[int] = []
    step = Step.__call__

    def note(self: Step, batch: Batch, *args: Any, **named: Any) -> Any:
        seen.extend(batch.index[batch.index >= 0].tolist())  # below 0 are rows of a memory
        return step(self, batch, *args, **named)

    monkeypatch.setattr(Step, "__call__", note)
    fitted = fit(quick(name, epochs=1), KINDS[name][0], tmp_path)
    training = list(range(fitted.facts["data"]["parts"]["train"]["rows"]))
    match name.partition("@")[0]:
        case "imbalanced-cls/balanced-bagging" | "imbalanced-cls/class-balanced-sampling":
            assert set(seen) <= set(training)
        case "adversarial-cls/free-at":  # a batch comes several times in a row
            assert set(seen) <= set(training) and len(seen) == len(training)
        case "imbalanced-cls/crt":  # the second stage draws
            assert sorted(seen[: len(training)]) == training
            assert set(seen) <= set(training)
        case "imbalanced-cls/smote":
            made = len(seen) - len(training)
            assert sorted(seen) == list(range(len(training) + made)) and made > 0
        case "continual-cls/ranpac" | "continual-cls/slda":
            assert not seen
        case "sequence-cls/multirocket":  # looks at its rows at the end, and makes no step
            assert not seen
            assert int(fitted.parts.network.model.num_rows) == len(training)
        case "continual-cls/gdumb":  # has all rows in its memory, and trains on them task by task
            assert set(seen) == set(training)
        case stream if (
            stream.startswith("continual-cls") and "joint" not in stream
        ):  # rows are numbered within a task
            counts = fitted.schema.class_counts
            assert sorted(seen) == sorted(row for count in counts for row in range(count))
        case _:
            assert sorted(seen) == training


def test_examples_of_no_part_cannot_be_described() -> None:
    from mlexpert.data.schema import describe as describe_rows
    from mlexpert.errors import InputError

    frame = table()
    nowhere = Examples("tabular", frame[["age"]], frame["bought"].to_numpy())
    with pytest.raises(InputError, match="train"):
        describe_rows(nowhere)
