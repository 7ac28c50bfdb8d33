"""Under a limit on memory, as `ulimit -d` sets it, training finishes or says what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training import limited

ROOT = Path(__file__).parents[2]


def train(folder: Path, mib: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, limited.__file__, str(folder), str(mib)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def facts(folder: Path, name: str = "facts.json") -> dict:
    return json.loads((folder / name).read_text())


def loss(folder: Path) -> float:
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])["loss"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux limits the data of a process")
def test_training_finishes_under_a_limit_with_the_same_result(tmp_path: Path) -> None:
    done = train(tmp_path / "free", 0)
    assert done.returncode == 0, done.stderr[-2000:]
    assert facts(tmp_path / "free")["size"] > limited.ROWS // 2  # the whole batch

    done = train(tmp_path / "limited", 180)
    assert done.returncode == 0, done.stderr[-2000:]
    found = facts(tmp_path / "limited")
    assert found["size"] < limited.ROWS // 2
    # Adam makes whole steps of rounding errors, so the loss is compared, not the weights.
    assert loss(tmp_path / "limited") == pytest.approx(loss(tmp_path / "free"), rel=1e-4)
    memory = facts(tmp_path / "limited", "run.json")["memory"]
    assert memory["needed"] <= memory["available"]
    assert len(memory["probes"]) <= 6
    confirmed = [probe["size"] for probe in memory["probes"] if probe["fits"]]
    assert memory["size"] in confirmed


@pytest.mark.skipif(sys.platform != "linux", reason="Linux limits the data of a process")
def test_what_cannot_fit_is_refused_with_both_numbers(tmp_path: Path) -> None:
    done = train(tmp_path, 140)
    assert done.returncode == 1
    assert "RunError: Training does not fit in memory" in done.stderr
    assert "MiB are available" in done.stderr
