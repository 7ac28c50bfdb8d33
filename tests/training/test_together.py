"""Two processes train as one does: the same curve, every row counted once, one that writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mlexpert.errors import InputError
from mlexpert.training.precision import Engine
from tests.training import together

ROOT = Path(__file__).parents[2]
SAME = ["plain", "weighted", "noise", "average", "auto", "tasks"]
LIKE_PLAIN = ["memory-forward", "memory-backward", "stopped", "sharded", "sharded-stopped"]
LIKE_TASKS = ["tasks-stopped", "tasks-sharded"]
OTHERS = ["norm", "dropout", "sharded-bf16"]


def start(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """Start two processes over gloo, as a user does."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [sys.executable, "-m", *launcher, together.__file__, str(folder), *names],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    done = start(folder, *SAME, *LIKE_PLAIN, *LIKE_TASKS, *OTHERS)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    for name in SAME:
        together.SCENARIOS[name](folder / name)
    return folder


def curve(run: Path) -> list[tuple[str, float]]:
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [(row["split"], row.get("loss", row.get("log_loss"))) for row in rows]


def assert_equal_runs(here: Path, there: Path) -> None:
    assert [split for split, _ in curve(here)] == [split for split, _ in curve(there)]
    values = [value for _, value in curve(here)]
    assert values == pytest.approx([value for _, value in curve(there)], abs=1e-5)
    ours, theirs = load_file(here / "weights.safetensors"), load_file(there / "weights.safetensors")
    for name, value in ours.items():
        assert torch.allclose(value, theirs[name], atol=1e-4), name


@pytest.mark.parametrize("name", SAME)
def test_the_curve_is_that_of_one_process(one: Path, two: Path, name: str) -> None:
    assert json.loads((two / name / "facts.json").read_text())["processes"] == 2
    assert_equal_runs(two / name, one / name)


@pytest.mark.parametrize("name", LIKE_PLAIN)
def test_so_it_is_after_a_lack_of_memory_a_stop_and_when_sharded(
    one: Path, two: Path, name: str
) -> None:
    """One process runs out of memory or is stopped; 101 rows and 41 do not divide by two."""
    assert_equal_runs(two / name, one / "plain")


@pytest.mark.parametrize("name", LIKE_TASKS)
def test_so_is_that_of_two_tasks(one: Path, two: Path, name: str) -> None:
    """The second one's order has repeats, and all processes have to draw the same one."""
    assert_equal_runs(two / name, one / "tasks")


@pytest.mark.parametrize("name", ["memory-forward", "memory-backward"])
def test_all_processes_cut_alike_after_one_ran_out(two: Path, name: str) -> None:
    assert json.loads((two / name / "facts.json").read_text())["cut"]["retries"] == 1
    assert json.loads((two / name / "facts.json").read_text())["cut"]["size"] == 2


def test_a_stop_of_one_stops_both_with_a_checkpoint(two: Path) -> None:
    for name in ("stopped", "sharded-stopped"):
        assert "Stopped by SIGTERM after step 10 of 28" in (two / name / "stopped.txt").read_text()


@pytest.mark.parametrize("name", ["norm", "dropout"])
def test_what_has_to_differ_in_each_process_still_learns(two: Path, name: str) -> None:
    """Halves of a batch have other statistics and masks than the whole; averages are shared."""
    validation = [value for split, value in curve(two / name) if split == "validation"]
    assert validation[-1] < validation[0]


def test_bf16_when_sharded_is_close(one: Path, two: Path) -> None:
    last = curve(two / "sharded-bf16")[-1][1]
    assert last == pytest.approx(curve(one / "plain")[-1][1], abs=0.02)


def test_memory_that_runs_out_when_sharded_is_refused_by_name(tmp_path: Path) -> None:
    done = start(tmp_path, "sharded-memory")
    assert done.returncode != 0
    assert "A sharded model cannot repeat a step" in done.stderr


def test_one_process_has_nothing_to_share_with() -> None:
    with pytest.raises(InputError, match="torchrun --nproc-per-node 2"):
        Engine("fp32", sharded=True)


def test_a_recipe_that_averages_its_weights_is_not_sharded(tmp_path: Path) -> None:
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "mlexpert"]
    fit = ["fit", "imbalanced-cls", "demo", "--sharded", "--ema", "0.9", "--epochs", "1"]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, *fit, "--run-dir", str(tmp_path / "run")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode != 0
    assert "sharded=True does not go with a moving average" in done.stderr
    assert not (tmp_path / "run").exists()
