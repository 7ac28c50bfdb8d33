"""What only a GPU shows: the whole path on one, and predictions that equal the CPU's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import mlexpert
from mlexpert.data.batches import TensorStore
from mlexpert.recipes import get
from mlexpert.training.method import Batch, Loss
from mlexpert.training.plan import Data, Plan
from mlexpert.training.precision import Engine
from mlexpert.training.tracking import RunFolder
from mlexpert.training.trainer import Trainer
from tests.small_data import of_kind
from tests.training.test_trainer import PLAN, Plain, stretch, trainer, weights

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("kind", ["tabular", "image", "text"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_whole_path(kind: str, precision: str, tmp_path: Path) -> None:
    recipe = get("imbalanced-cls", epochs=3, batch_size=32, precision=precision)
    fitted = recipe.fit(of_kind(kind), run_dir=tmp_path / "run", progress=False)
    assert fitted.facts["environment"]["device"].startswith("cuda")
    assert 0 <= fitted.final_test(reason="gpu")["balanced_accuracy"] <= 1
    ds = of_kind(kind)
    rows = ds[0] if isinstance(ds, tuple) else ds.iloc[:, :-1]
    loaded = mlexpert.load(tmp_path / "run")
    assert np.allclose(loaded.predict_proba(rows), fitted.predict_proba(rows), atol=1e-3)


def test_a_batch_that_is_too_large_is_cut_and_confirmed(tmp_path: Path) -> None:
    """A share of the GPU that a whole batch of wide rows does not fit into."""
    rows = 200_000
    inputs = torch.randn(rows, 16, generator=torch.Generator().manual_seed(0))
    targets = (inputs[:, 0] > 0).long()
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(16, 4096), torch.nn.ReLU(), torch.nn.Linear(4096, 4096), torch.nn.ReLU(),
        torch.nn.Linear(4096, 2),
    )  # fmt: skip
    plan = Plan(seed=0, batch_size=rows // 2, microbatch="auto", show_progress=False)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(4 * 2**30 / total)
    try:
        small = Data(TensorStore(inputs[:100]), targets[:100])
        one = stretch(model, Data(TensorStore(inputs), targets), small, epochs=1)
        trainer = Trainer(model, Plain(), [one], plan, Engine("fp32"), RunFolder(tmp_path, {}))
        trainer.run()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    memory = json.loads((tmp_path / "run.json").read_text())["memory"]
    assert memory["size"] < rows // 2 and len(memory["probes"]) <= 6
    assert memory["size"] in [probe["size"] for probe in memory["probes"] if probe["fits"]]
    assert abs(memory["error_percent"]) < 5
    assert trainer.step.cut.retries == 0


def test_fp16_that_overflows_skips_the_step_and_moves_no_schedule(tmp_path: Path) -> None:
    """The first scale, 65536, overflows: the step is skipped, and hooks see true gradients."""
    norms: list[float] = []

    class Seen(Plain):
        def after_backward(self, model: torch.nn.Module) -> None:
            norms.append(max(float(p.grad.abs().max()) for p in model.parameters()))

        def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
            loss = super().loss(model, batch)
            return Loss(loss.total * 100, loss.count)

    here = trainer(tmp_path, method=Seen(), precision="fp16")
    here.run()
    assert here.at.moved < here.at.step
    assert max(norm for norm in norms if norm < float("inf")) < 1000
    stage = here.stream[0].stage
    lr = stage.optimizer.param_groups[0]["lr"]
    assert lr >= here.peaks[0][0] * stage.schedule((here.at.moved - 1) / here.at.step) - 1e-9


def test_a_gpu_that_runs_out_repeats_the_step(tmp_path: Path) -> None:
    class Once(Plain):
        failed = False

        def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
            if not self.failed:
                self.failed = True
                torch.empty(2**50, dtype=torch.uint8, device="cuda")
            return super().loss(model, batch)

    here = trainer(tmp_path / "short", method=Once())
    with pytest.warns(UserWarning, match="pieces of 8 rows"):
        here.run()
    fixed = trainer(tmp_path / "fixed", replace(PLAN, microbatch=8))
    fixed.run()
    assert torch.allclose(weights(here.model), weights(fixed.model), atol=1e-6)
