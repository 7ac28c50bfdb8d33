"""Several real processes over gloo: what they compute together, and what they say of a lost one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mlexpert.errors import InputError
from mlexpert.training.buckets import cut_into_buckets
from mlexpert.training.processes import Processes
from tests.training.several_processes import gradients

SCRIPT = Path(__file__).with_name("several_processes.py")
ROOT = SCRIPT.parents[2]


LOST = {
    # Process 0 hosts the store, unless torchrun does: its end takes the store along.
    "kill1:2": "Process 1 of 2 died while",
    "kill0:2": "Process 0 of 2 died while",
    "kill2:4": "Process 2 of 4 died while",
    "raise1:2": "Process 1 of 2 failed: RunError: out of luck",
    "raise0:3": "Process 0 of 3 failed: RunError: out of luck",
    "work0:2": "Process 0 of 2 failed: KeyError: 'lost key'",
    "outside1:2": "Process 1 of 2 died while",
    "hang1:2": "Process 1 of 2 has not answered for 5 s while",
}

KILLED = re.compile("kill|outside")


def start(launcher: list[str], *arguments: str) -> None:
    # In one process of its own: torch is imported once, and a signal never reaches pytest.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *launcher, str(SCRIPT), *arguments]
    subprocess.run(command, env=environment, timeout=200, capture_output=True, cwd=ROOT)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what all processes left, which ran at the same time."""
    folder = tmp_path_factory.mktemp("processes")
    start([], str(folder), "agree:3", *LOST)
    return folder


@pytest.fixture(scope="module")
def agreed(results: Path) -> list[dict]:
    """What three processes computed together, in the order of their ranks."""
    return [json.loads((results / f"agree-{rank}.json").read_text()) for rank in range(3)]


def test_numbers_are_added_and_compared(results: Path, agreed: list[dict]) -> None:
    codes = json.loads((results / "codes.json").read_text())
    assert [codes[f"agree-{rank}"] for rank in range(3)] == [0, 0, 0]
    for rank, result in enumerate(agreed):
        assert (result["rank"], result["count"]) == (rank, 3)
        assert result["total"] == pytest.approx([0.3, 3.0], abs=1e-15)
        assert result["smallest"] == 8
        assert result["added"] == [6.0, 6.0]
        assert result["shape"] == [3, 4]


def test_gradients_are_summed_and_lacking_ones_are_zero_or_none(agreed: list[dict]) -> None:
    ranks = [[parameter.grad for parameter in gradients(rank)] for rank in range(3)]
    expected = [[grad for grad in grads if grad is not None] for grads in zip(*ranks, strict=True)]
    for result in agreed:
        assert result["gradients"] == agreed[0]["gradients"]  # bit for bit, or weights drift apart
        for summed, parts in zip(result["gradients"], expected, strict=True):
            if parts:
                torch.testing.assert_close(
                    torch.tensor(summed, dtype=parts[0].dtype), torch.stack(parts).sum(0)
                )
            else:
                assert summed is None
    assert [len(parts) for parts in expected] == [3, 3, 0, 1, 3, 0]  # all cases are there


def test_statistics_are_averaged(agreed: list[dict]) -> None:
    drawn = []
    for rank in range(3):
        torch.manual_seed(rank)
        drawn.append([torch.randn(3), torch.randn(2, 2)])
    for result in agreed:
        for mean, parts in zip(result["means"], zip(*drawn, strict=True), strict=True):
            torch.testing.assert_close(torch.tensor(mean), torch.stack(parts).mean(0))


def test_every_row_is_shared_out_and_gathered_once(agreed: list[dict]) -> None:
    rows = torch.arange(14).reshape(7, 2)
    for rank, result in enumerate(agreed):
        assert rows[slice(*result["share"])].equal(rows.tensor_split(3)[rank])
        assert result["rows"] == rows.tolist()
        assert result["flags"] == (rows[:, 0] > 4).tolist()


@pytest.mark.parametrize(("length", "count"), [(0, 3), (1, 3), (2, 3), (9, 3), (100, 7)])
def test_shares_are_those_of_tensor_split(length: int, count: int) -> None:
    processes = Processes()
    processes.count = count
    for processes.rank, part in enumerate(torch.arange(length).tensor_split(count)):
        assert torch.arange(length)[processes.share(length)].equal(part)


def test_the_first_works_for_all(agreed: list[dict]) -> None:
    for result in agreed:
        assert result["first"] == ["returned", {"by": 0, "text": "ü" * 1000}]
        assert result["input error"] == ["InputError", "of 0"]
        assert result["run error"] == ["RunError", "of 0"]


def test_what_differs_is_refused_by_rank(agreed: list[dict]) -> None:
    for result in agreed:
        assert result["same"] == ["returned", None]
        kind, message = result["not same"]
        assert kind == "InputError"
        assert message.startswith("Process 1 of 3 has another data than process 0.")


def test_buckets_hold_each_trainable_parameter_once_and_respect_type_and_size() -> None:
    sizes = [10, 10, 10, 100, 1]
    parameters = [nn.Parameter(torch.zeros(size)) for size in sizes]
    parameters.insert(1, nn.Parameter(torch.zeros(3, dtype=torch.float64)))
    frozen = nn.Parameter(torch.zeros(3), requires_grad=False)
    buckets = cut_into_buckets([*parameters, frozen], limit=80)
    assert {id(p) for bucket in buckets for p in bucket} == {id(p) for p in parameters}
    assert sum(len(bucket) for bucket in buckets) == len(parameters)
    assert sorted([p.numel() for p in bucket] for bucket in buckets) == [
        [1],
        [3],
        [10],
        [10, 10],
        [100],
    ]


def test_a_single_process_does_everything_alone() -> None:
    processes = Processes.here()
    assert (processes.rank, processes.count, processes.is_first) == (0, 1, True)
    assert processes.share(7) == slice(0, 7)
    assert processes.total([1.5, 2]) == [1.5, 2]
    assert processes.smallest(3) == 3
    rows = torch.ones(2, 2)
    assert processes.gather_rows(rows, [2]) is rows
    assert processes.first_does(lambda: {"a": 1}) == {"a": 1}
    processes.same_everywhere("a", "data")
    layer = nn.Linear(2, 1)
    processes.sum_gradients(list(layer.parameters()))
    assert layer.weight.grad is None
    with pytest.raises(InputError, match="as it was"), processes:
        raise InputError("as it was")


@pytest.mark.parametrize("case", LOST)
def test_survivors_name_whom_they_lost_and_end(results: Path, case: str) -> None:
    act, count = case.split(":")
    lost = int(act[-1])
    codes = json.loads((results / "codes.json").read_text())
    assert codes[f"{act}-{lost}"] == (-signal.SIGKILL if KILLED.match(act) else 1)
    for rank in set(range(int(count))) - {lost}:
        result = json.loads((results / f"{act}-{rank}.json").read_text())
        assert result["said"].startswith(LOST[case])
        assert result["seconds"] < 30
        assert codes[f"{act}-{rank}"] == 1


def test_survivors_speak_although_torchrun_ends_them(tmp_path: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    start(launcher, str(tmp_path), "kill1")
    said = json.loads((tmp_path / "kill1-0.json").read_text())["said"]
    assert said.startswith(LOST["kill1:2"])
