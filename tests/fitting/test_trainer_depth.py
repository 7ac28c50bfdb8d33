"""What a fit decides and records of its own: arithmetic, memory, health, profile, and going on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import mlexpert
from mlexpert.errors import InputError, RunError
from mlexpert.fitting import trials
from mlexpert.recipes import get
from mlexpert.training import arithmetic as arithmetic_module
from mlexpert.training import checkpoint_clock
from mlexpert.training.interrupt import Interrupted
from mlexpert.training.method import Batch
from mlexpert.training.methods.cross_entropy import CrossEntropy
from tests.small_data import of_kind

FIELDS = {"epochs": 3, "batch_size": 16}


def record(run: Path, name: str = "run.json") -> dict:
    return json.loads((run / name).read_text())


def weights(run: Path) -> bytes:
    return (run / "model" / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("kind", ["tabular", "image", "text"])
def test_a_fit_says_what_it_predicted_probed_and_chose(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arithmetic_module, "processor_has_bf16", lambda: True)
    fitted = get("imbalanced-cls", **FIELDS).fit(of_kind(kind), run_dir=tmp_path, progress=False)
    memory, arithmetic = record(tmp_path)["memory"], record(tmp_path)["arithmetic"]
    assert memory["size"] == 16 and "the whole batch of 16 fits" in memory["why"]
    assert [probe["size"] for probe in memory["probes"]] == [16]
    assert (memory["width"] is not None) == (kind == "text")
    assert arithmetic["precision"] in ("fp32", "bf16") and arithmetic["why"]
    assert {trial["arithmetic"]["precision"] for trial in arithmetic["trials"]} == {"fp32", "bf16"}
    assert fitted.facts["environment"]["processes"] == 1
    layers = [json.loads(line) for line in (tmp_path / "health.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in layers] == [1, 2, 3]
    assert all(np.isfinite(row["gradient_norm"]) for row in layers[-1]["layers"])


def test_what_is_decided_leaves_training_alone(tmp_path: Path) -> None:
    """Probes and trials come before the first step; the weights are those of a fit without."""
    for name, fields in (("asked", {}), ("not", {"microbatch": None, "channels_last": False})):
        recipe = get(
            "imbalanced-cls", **FIELDS, precision="fp32", **{"channels_last": False, **fields}
        )
        recipe.fit(of_kind("image"), run_dir=tmp_path / name, progress=False)
    assert weights(tmp_path / "asked") == weights(tmp_path / "not")


def test_equal_seeds_give_equal_weights_however_auto_decides(tmp_path: Path) -> None:
    for name in ("first", "second"):
        recipe = get("imbalanced-cls", **FIELDS)
        recipe.fit(of_kind("image"), run_dir=tmp_path / name, progress=False)
    assert weights(tmp_path / "first") == weights(tmp_path / "second")
    assert "Measured earlier" in record(tmp_path / "second")["arithmetic"]["why"]


def test_going_on_computes_as_the_run_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where "auto" would now decide otherwise, and where memory would now be short."""
    recipe = get("imbalanced-cls", **FIELDS, microbatch=8)
    recipe.fit(of_kind("image"), run_dir=tmp_path / "whole", progress=False)
    began = record(tmp_path / "whole")["arithmetic"]

    with monkeypatch.context() as patch:
        stop_after(patch, 9)
        with pytest.raises(Interrupted, match="after step 9"):
            recipe.fit(of_kind("image"), run_dir=tmp_path / "broken", progress=False)
    (Path(os.environ["MLEXPERT_HOME"]) / "arithmetic.json").unlink()
    monkeypatch.setattr("mlexpert.training.settling.settle_arithmetic", refuse)
    monkeypatch.setattr("mlexpert.training.settling.settle_memory", refuse)
    recipe.fit(of_kind("image"), run_dir=tmp_path / "broken", progress=False)
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")
    assert record(tmp_path / "broken")["arithmetic"]["precision"] == began["precision"]


def test_a_damaged_checkpoint_is_passed_over_and_the_end_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = get("imbalanced-cls", **FIELDS, precision="fp32")
    recipe.fit(of_kind("image"), run_dir=tmp_path / "whole", progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_clock, "CHECKPOINT_EVERY", 0.0)
        stop_after(patch, 10)
        with pytest.raises(Interrupted):
            recipe.fit(of_kind("image"), run_dir=tmp_path / "broken", progress=False)
    newest = sorted((tmp_path / "broken" / "checkpoints").iterdir())[-1] / "tensors.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match="is damaged"):
        recipe.fit(of_kind("image"), run_dir=tmp_path / "broken", progress=False)
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")


def test_a_profile_says_where_the_time_went(tmp_path: Path) -> None:
    recipe = get("imbalanced-cls", epochs=4, batch_size=16, precision="fp32")
    recipe.fit(of_kind("tabular"), run_dir=tmp_path, profile=True, progress=False)
    phases = {row["phase"]: row for row in record(tmp_path / "profile", "profile.json")["phases"]}
    assert {"data", "forward", "backward", "optimizer", "other"} <= phases.keys()
    assert sum(row["share"] for row in phases.values()) == pytest.approx(1.0)
    assert (tmp_path / "profile" / "trace.json").stat().st_size > 1000
    assert "Where time went" in mlexpert.Fitted.from_run(tmp_path).report().read_text()


def test_a_loss_that_is_not_finite_names_the_layer_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = CrossEntropy.after_step

    def poison(self: CrossEntropy, model: nn.Module, batch: Batch) -> None:
        moved(self, model, batch)
        poison.steps += 1
        if poison.steps == 5:
            with torch.no_grad():
                last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
                last.weight[0, 0] = float("nan")

    poison.steps = 0
    monkeypatch.setattr(CrossEntropy, "after_step", poison)
    monkeypatch.setattr(checkpoint_clock, "CHECKPOINT_EVERY", 0.0)
    recipe = get("imbalanced-cls", **FIELDS, precision="fp32")
    with pytest.raises(
        RunError, match=r"not finite at step [56] .*head.*step-00000000[0-4] is kept"
    ):
        recipe.fit(of_kind("image"), run_dir=tmp_path, progress=False)


def test_a_compiled_model_gives_what_an_eager_one_gives(tmp_path: Path) -> None:
    scores = []
    for compiled in (False, True):
        recipe = get("imbalanced-cls", **FIELDS, precision="fp32", compile=compiled)
        fitted = recipe.fit(of_kind("tabular"), run_dir=tmp_path / str(compiled), progress=False)
        scores.append(fitted.evaluate()["log_loss"])
    assert scores[1] == pytest.approx(scores[0], abs=0.02)  # other dropout masks


def test_a_single_process_has_nothing_to_share_a_model_with(tmp_path: Path) -> None:
    recipe = get("imbalanced-cls", **FIELDS, sharded=True)
    with pytest.raises(InputError, match="torchrun"):
        recipe.fit(of_kind("tabular"), run_dir=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["tabular", "image", "text"])
def test_memory_is_predicted_without_training(kind: str, cwd: Path) -> None:
    forecast = trials.predict_memory(get("imbalanced-cls", batch_size=32), of_kind(kind))
    assert list(forecast.peaks) == [1, 8, 32]
    assert forecast.peaks[1] < forecast.peaks[32]
    assert forecast.fits(32) and not forecast.unpredicted
    assert not list(cwd.iterdir())


def test_a_learning_rate_range_is_a_bracket(cwd: Path) -> None:
    found = trials.lr_range(get("imbalanced-cls", batch_size=32), of_kind("image"))
    assert found.lrs[0] == pytest.approx(1e-6) and found.lrs[-1] > 1e-2
    assert found.suggested is None or 1e-4 < found.suggested < 10
    assert not list(cwd.iterdir())


def stop_after(patch: pytest.MonkeyPatch, step: int) -> None:
    """Send this process a signal after a step."""
    moved = CrossEntropy.after_step
    count = [step]

    def stop(self: CrossEntropy, model: nn.Module, batch: Batch) -> None:
        moved(self, model, batch)
        count[0] -= 1
        if count[0] == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    patch.setattr(CrossEntropy, "after_step", stop)


def refuse(*args: object, **options: object) -> None:
    raise AssertionError("a run that goes on decides nothing anew")
