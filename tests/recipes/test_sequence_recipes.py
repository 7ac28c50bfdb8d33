"""One conformance suite over the recipes of sequences: what each of them promises."""

from __future__ import annotations

import dataclasses
import json
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import mlexpert
from mlexpert.copying import copy_recipe
from mlexpert.errors import InputError
from mlexpert.families.sequences import SequenceRecipe
from mlexpert.families.solved import SolvedRecipe
from mlexpert.fitted.sequences import SequenceFitted
from mlexpert.recipes import CATALOGUE, get
from mlexpert.training.interrupt import Interrupted
from mlexpert.training.step import Step
from tests.small_sequences import DATA, QUICK

NAMES = [row.name for row in CATALOGUE if issubclass(row.load(), SequenceRecipe)]
every_recipe = pytest.mark.parametrize("name", NAMES)


def quick(name: str, **fields: Any) -> SequenceRecipe:
    """Return a recipe that trains in a moment."""
    own = QUICK[predicts(name)]
    usual = {"epochs": 2, "batch_size": 8, "microbatch": None, "precision": "fp32"}
    made = get(name, **{**usual, **own, **fields})
    assert isinstance(made, SequenceRecipe)
    return made


def predicts(name: str) -> str:
    return next(row.load().predicts for row in CATALOGUE if row.name == name)  # type: ignore[attr-defined]


def fit(recipe: SequenceRecipe, run_dir: Path, **roles: Any) -> SequenceFitted:
    fitted = recipe.fit(DATA[recipe.predicts](), run_dir=run_dir, progress=False, **roles)
    assert isinstance(fitted, SequenceFitted)
    return fitted


def weights(fitted: SequenceFitted) -> torch.Tensor:
    state = fitted.parts.network.model.state_dict().values()
    return torch.cat([value.double().flatten() for value in state])


@every_recipe
def test_same_seed_same_weights_and_the_generator_is_left_alone(name: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = weights(fit(quick(name), tmp_path / "1"))
    assert torch.rand(1) == expected
    assert torch.equal(first, weights(fit(quick(name), tmp_path / "2")))


@every_recipe
def test_resuming_equals_not_stopping_bit_for_bit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(quick(name), tmp_path / "whole")
    steps, step = 0, Step.__call__

    def stop(self: Step, *args: Any, **named: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *args, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Step, "__call__", stop)
        if steps_of(whole):
            with pytest.raises(Interrupted, match="run_dir="):
                fit(quick(name), tmp_path / "broken")
    resumed = fit(quick(name), tmp_path / "broken")
    assert torch.equal(weights(whole), weights(resumed))
    assert whole.evaluate() == pytest.approx(resumed.evaluate(), nan_ok=True, abs=0)


def steps_of(fitted: SequenceFitted) -> int:
    rows = map(json.loads, (fitted.run_dir / "metrics.jsonl").read_text().splitlines())
    return max(row["step"] for row in rows)


@every_recipe
def test_a_run_is_evaluated_tested_reported_saved_and_loaded(name: str, tmp_path: Path) -> None:
    fitted = fit(quick(name), tmp_path / "run")
    found = fitted.evaluate()
    assert found and all(isinstance(value, float) for value in found.values())
    tested = fitted.final_test(reason="a test")
    assert found.keys() <= tested.keys() and tested["intervals"]
    page = fitted.report().read_text()
    assert 'id="answers"' in page and "has not shown its answers" not in page
    fitted.save(tmp_path / "model")
    loaded = mlexpert.load(tmp_path / "model")
    assert type(loaded) is type(fitted) and torch.equal(weights(fitted), weights(loaded))
    rows = DATA[fitted.recipe.predicts](seed=1)
    assert fitted.evaluate(rows) == pytest.approx(loaded.evaluate(rows), nan_ok=True, abs=0)
    again = type(fitted).from_run(tmp_path / "run")
    assert again.evaluate() == pytest.approx(found, nan_ok=True, abs=0)
    endings = {path.suffix for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert endings <= {".safetensors", ".json"}


@every_recipe
def test_the_copied_file_runs_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = quick(name)
    data = DATA[recipe.predicts]()
    if isinstance(data, list):
        Path("data.txt").write_text("\n".join(data))
    else:
        data.to_parquet("data.parquet")
    file = copy_recipe(name, tmp_path / "mine.py")
    words = [str(file), "data.txt" if isinstance(data, list) else "data.parquet"]
    for field in ("epochs", *QUICK[recipe.predicts]):
        words += [f"--{field.replace('_', '-')}", str(getattr(recipe, field))]
    monkeypatch.setattr(sys, "argv", [*words, "--run-dir", "out"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(file), run_name="__main__")
    assert ended.value.code in (0, None)
    assert (tmp_path / "out/report.html").is_file()


@every_recipe
def test_what_has_no_meaning_for_sequences_is_refused(name: str, tmp_path: Path) -> None:
    recipe = quick(name)
    data = DATA[recipe.predicts]()
    with pytest.raises(InputError, match="folds"):
        recipe.fit(data, folds=2, run_dir=tmp_path / "folds", progress=False)
    with pytest.raises(InputError, match="subgroups"):
        recipe.fit(data, subgroups="nothing", run_dir=tmp_path / "groups", progress=False)
    fitted = fit(recipe, tmp_path / "run")
    for asked in ("predict_proba", "predict_topk", "importance"):
        with pytest.raises(InputError, match=asked):
            getattr(fitted, asked)(*([] if asked == "importance" else [data]))


@every_recipe
def test_empty_data_is_refused_before_training(name: str, tmp_path: Path) -> None:
    recipe = quick(name)
    data = DATA[recipe.predicts]()
    with pytest.raises(InputError):
        recipe.fit(data[:0], run_dir=tmp_path, progress=False)
    assert not any(tmp_path.iterdir())


@every_recipe
def test_is_frozen_and_settles_every_number(name: str) -> None:
    recipe = get(name)
    assert isinstance(recipe, SequenceRecipe)
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.epochs = 4  # type: ignore[misc]
    parts = recipe.read(DATA[recipe.predicts](400) if recipe.predicts != "forecast" else
                        DATA["forecast"](3000))  # fmt: skip
    schema = recipe.describe(recipe.divide(parts).train)
    settled = recipe.settle(schema)
    assert None not in [settled.epochs, settled.batch_size, settled.lr, settled.patience]
    parts = settled.build(schema)
    if not isinstance(recipe, SolvedRecipe):
        size = sum(one.numel() for one in parts.network.model.parameters() if one.requires_grad)
        assert size > 10
