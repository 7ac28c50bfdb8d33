"""The profile: its table against a clock that we set, its trace against calls that we know."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mlexpert.errors import RunError
from mlexpert.training import phases as module
from mlexpert.training.phases import OFF, Phases, Profile

CPU = torch.device("cpu")


class Clock:
    """Stands in for the time module; a test says how much time passes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 100.0
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: self.seconds))

    def spend(self, profile: Phases, phase: str, seconds: float) -> None:
        with profile(phase):
            self.seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def a_step(clock: Clock, profile: Phases, scale: float = 1.0) -> None:
    for phase, seconds in [("data", 1.0), ("forward", 2.0), ("backward", 3.0), ("optimizer", 1.0)]:
        clock.spend(profile, phase, scale * seconds)
    clock.seconds += scale * 3.0
    profile.step()


def table(folder: Path) -> dict[str, tuple[float, float, float]]:
    rows = json.loads((folder / "profile" / "profile.json").read_text())["phases"]
    return {row["phase"]: (row["seconds"], row["share"], row["ms_per_step"]) for row in rows}


def train(profile: Phases, num_steps: int) -> list[torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for inputs in profile.fetched(torch.randn(num_steps, 16, 4)):
        with profile("forward"):
            loss = model(inputs).square().mean()
        with profile("backward"):
            loss.backward()
        with profile("optimizer"):
            optimizer.step()
            optimizer.zero_grad()
        profile.step()
    profile.close()
    return [parameter.detach() for parameter in model.parameters()]


def test_off_costs_no_object_and_no_copy(tmp_path: Path) -> None:
    batches = [1, 2, 3]
    assert OFF("forward") is OFF("data")
    assert OFF.fetched(batches) is batches
    OFF.step()
    OFF.close()


def test_the_table_is_what_the_clock_said_after_the_warm_up(clock: Clock, tmp_path: Path) -> None:
    profile = Profile(tmp_path, CPU, num_steps=30)
    clock.seconds += 1000.0  # what lies before the first step is no part of it
    for number in range(25):
        a_step(clock, profile, scale=50.0 if number < 5 else 1.0)
    profile.close()
    assert table(tmp_path) == {
        "data": (20.0, pytest.approx(0.1), 1000.0),
        "forward": (40.0, pytest.approx(0.2), 2000.0),
        "backward": (60.0, pytest.approx(0.3), 3000.0),
        "optimizer": (20.0, pytest.approx(0.1), 1000.0),
        "other": (60.0, pytest.approx(0.3), 3000.0),
    }
    record = json.loads((tmp_path / "profile" / "profile.json").read_text())
    assert (record["skipped_steps"], record["num_steps"]) == (5, 20)
    assert (record["seconds"], record["device"]) == (200.0, "cpu")


def test_the_wait_for_a_batch_is_data(clock: Clock, tmp_path: Path) -> None:
    def slow() -> object:
        for number in range(3):
            clock.seconds += 4.0
            yield number
        clock.seconds += 9.0  # finding out that there is no more, after the last step

    profile = Profile(tmp_path, CPU, num_steps=30)
    seen = []
    for batch in profile.fetched(slow()):
        clock.spend(profile, "forward", 1.0)
        profile.step()
        seen.append(batch)
    profile.close()
    assert seen == [0, 1, 2]
    assert table(tmp_path)["data"][:2] == (12.0, pytest.approx(0.8))


def test_a_phase_of_another_name_has_its_own_row(clock: Clock, tmp_path: Path) -> None:
    profile = Profile(tmp_path, CPU, num_steps=2)
    clock.spend(profile, "evaluation", 6.0)
    a_step(clock, profile)
    profile.close()
    rows = table(tmp_path)
    assert list(rows) == ["data", "forward", "backward", "optimizer", "evaluation", "other"]
    assert rows["evaluation"][0] == 6.0
    assert sum(share for _, share, _ in rows.values()) == pytest.approx(1.0)


def test_what_an_interrupted_step_spent_is_in_no_row(clock: Clock, tmp_path: Path) -> None:
    profile = Profile(tmp_path, CPU, num_steps=30)
    a_step(clock, profile)
    a_step(clock, profile)
    with pytest.raises(KeyboardInterrupt), profile("forward"):
        clock.seconds += 70.0
        raise KeyboardInterrupt
    profile.close()
    assert table(tmp_path)["forward"][0] == 4.0
    assert json.loads((tmp_path / "profile" / "profile.json").read_text())["num_steps"] == 2

    nothing = Profile(tmp_path / "other", CPU, num_steps=30)
    nothing.close()
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("num_steps", [1, 2, 3, 5, 6, 11, 29, 30, 1000])
def test_a_short_training_gets_short_windows(num_steps: int) -> None:
    warm_up, timed, traced = module._windows(num_steps)
    assert warm_up + timed + traced <= num_steps
    assert timed >= max(1, num_steps // 2) or num_steps > 30
    assert (traced > 0) == (num_steps > 1)
    if num_steps >= 30:
        assert (warm_up, timed, traced) == (5, 20, 5)


def test_the_trace_labels_each_phase_and_counts_the_operators(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = train(Profile(tmp_path, CPU, num_steps=40), 40)

    events = json.loads((tmp_path / "profile" / "trace.json").read_text())["traceEvents"]
    labels = [event["name"] for event in events if event.get("cat") == "user_annotation"]
    assert [labels.count(phase) for phase in module.PHASES] == [5, 5, 5, 5]
    record = json.loads((tmp_path / "profile" / "profile.json").read_text())
    assert record["traced_steps"] == 5
    calls = {row["operator"]: row["calls"] for row in record["operators"]}
    assert len(calls) == module.NUM_OPERATORS
    assert calls["aten::addmm"] == 2 * 5  # two linear layers, five steps
    assert not set(calls) & set(module.PHASES)
    times = [row["self_cpu_ms_per_step"] for row in record["operators"]]
    assert times == sorted(times, reverse=True) and times[-1] > 0.0
    assert sum(row["share"] for row in record["phases"]) == pytest.approx(1.0)
    assert sorted(path.name for path in (tmp_path / "profile").iterdir()) == [
        "profile.json",
        "trace.json",
    ]
    assert capfd.readouterr().err == ""
    for ours, plain in zip(weights, train(OFF, 40), strict=True):
        assert torch.equal(ours, plain)


def test_a_training_that_ends_while_traced_keeps_its_trace(tmp_path: Path) -> None:
    train(Profile(tmp_path, CPU, num_steps=40), 27)
    record = json.loads((tmp_path / "profile" / "profile.json").read_text())
    assert (record["num_steps"], record["traced_steps"]) == (20, 2)
    assert {row["operator"]: row["calls"] for row in record["operators"]}["aten::addmm"] == 4


def test_a_large_trace_is_compressed_and_an_earlier_one_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(Profile(tmp_path, CPU, num_steps=2), 2)
    monkeypatch.setattr(module, "LARGE", 0)
    train(Profile(tmp_path, CPU, num_steps=2), 2)
    names = sorted(path.name for path in (tmp_path / "profile").iterdir())
    assert names == ["profile.json", "trace.json.gz"]
    with gzip.open(tmp_path / "profile" / "trace.json.gz") as file:
        assert json.load(file)["traceEvents"]


def test_a_closed_profile_is_over(clock: Clock, tmp_path: Path) -> None:
    profile = Profile(tmp_path, CPU, num_steps=1)
    a_step(clock, profile)
    written = (tmp_path / "profile" / "profile.json").read_text()
    a_step(clock, profile, scale=9.0)
    profile.close()
    assert (tmp_path / "profile" / "profile.json").read_text() == written
    assert profile("data") is OFF("data")


def test_a_folder_that_cannot_be_written_is_named(clock: Clock, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    profile = Profile(tmp_path / "file", CPU, num_steps=30)
    a_step(clock, profile)
    with pytest.raises(RunError, match="file/profile could not be written"):
        profile.close()
