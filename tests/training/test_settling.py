"""What is decided before training: how much of the memory is a step's, and when to stop."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from mlexpert.errors import RunError
from mlexpert.training import settling
from mlexpert.training.checkpoint_clock import CheckpointClock
from mlexpert.training.interrupt import StopSignal
from mlexpert.training.plan import Plan
from mlexpert.training.precision import Engine
from tests.training.test_trainer import Plain, data, net, trainer

MIB = 2**20


def test_what_training_holds_besides_is_not_a_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "available_on", lambda device: 100 * MIB)
    model = nn.Linear(MIB // 4 - 1, 4)  # 4 MiB
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    assert settling.free_for_training(model, Engine("fp32")) == 100 * MIB - 2 * weights
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert settling.free_for_training(model, Engine("fp32")) == 25 * MIB - 2 * weights


def test_what_does_not_fit_is_refused_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "available_on", lambda device: 0)
    plan = Plan(seed=0, batch_size=16, microbatch="auto", show_progress=False)
    here = trainer(tmp_path, plan)
    before = [parameter.clone() for parameter in here.model.parameters()]
    with pytest.raises(RunError, match=r"needs \d+ MiB, and 0 MiB are available"):
        here.run()
    assert all(map(torch.equal, before, here.model.parameters()))
    assert here.at.step == 0


def test_a_batch_is_drawn_without_a_trace() -> None:
    class Drawing(Plain):
        drawn = 0

        def draw(self, model: nn.Module, batch):
            self.drawn += 1
            torch.randn(3)
            return batch

    method, state = Drawing(), torch.get_rng_state()
    plan = Plan(seed=0, batch_size=16)
    batch = settling.longest_batch(data(), plan, Engine("fp32"))
    settling.drawn_batch(net(), method, batch)
    assert len(batch) == 16 and method.drawn == 0
    assert torch.equal(torch.get_rng_state(), state)


def test_a_second_sigterm_is_no_more_than_the_first() -> None:
    with StopSignal() as stop:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.received is signal.SIGTERM


def test_a_second_ctrl_c_ends_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received is signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_during_the_exchange_is_kept_for_the_next() -> None:
    """The others did not hear of it yet, so this process must not act alone, nor forget."""

    class Two:
        count, is_first = 2, True

        def total(self, values: list[float]) -> list[float]:
            os.kill(os.getpid(), signal.SIGTERM)
            return list(values)

    clock = CheckpointClock(Two())
    with StopSignal() as stop:
        assert clock.is_due(stop) == (False, None)
        assert stop.received is signal.SIGTERM
        assert clock.is_due(stop) == (True, signal.SIGTERM)
