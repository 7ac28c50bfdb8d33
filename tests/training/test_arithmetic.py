"""How `auto` decides: against a clock that the model itself moves, so that no timing matters."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from mlexpert.blocks.backbones.resnet import ResNet
from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.training import arithmetic
from mlexpert.training.arithmetic import Choice, choose_arithmetic
from mlexpert.training.method import Batch, Loss, Method
from mlexpert.training.methods.cross_entropy import CrossEntropy
from mlexpert.training.remembered import MOST, recall, remember
from mlexpert.training.trial import Arithmetic, try_all

FP32, BF16 = Arithmetic("fp32"), Arithmetic("bf16")
FP32_LAST = Arithmetic("fp32", channels_last=True)


class Clock:
    """Tells the seconds that the models below have spent, and counts their steps."""

    def __init__(self) -> None:
        self.seconds, self.steps = 0.0, 0

    def __call__(self) -> float:
        return self.seconds

    def __deepcopy__(self, memo: dict) -> Clock:
        return self  # the copies that are tried move the same clock


class Costly(nn.Module):
    """A small convolution that takes as long as is said for the arithmetic it finds itself in."""

    def __init__(self, clock: Clock, fp32: float, bf16: float, fp32_last: float = 9.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(2, 4, 3)
        self.head = nn.Linear(36, 3)
        self.clock, self.fp32, self.bf16, self.fp32_last = clock, fp32, bf16, fp32_last

    def forward(self, inputs: Tensor) -> Tensor:
        last = self.conv.weight.is_contiguous(memory_format=torch.channels_last)
        if torch.is_autocast_enabled("cpu"):
            self.clock.seconds += self.bf16
        else:
            self.clock.seconds += self.fp32_last if last else self.fp32
        self.clock.steps += 1
        return self.head(self.conv(inputs).flatten(1))


def images(rows: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.rand(rows, 2, 5, 5, generator=generator)
    return Batch(inputs, torch.arange(rows) % 3, torch.arange(rows))


@pytest.fixture(autouse=True)
def _processor_with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "processor_has_bf16", lambda: True)


def choose(model: nn.Module, home: Path, clock: Clock | None = None, **options) -> Choice:
    options = {"precision": "auto", "channels_last": "auto", "batch": images()} | options
    method = options.pop("method", None) or CrossEntropy(shift=0, flip=False)
    batch = options.pop("batch")
    return choose_arithmetic(
        model, method, batch, home=home, clock=clock or time.thread_time, **options
    )


@pytest.mark.parametrize(
    ("fp32", "bf16", "fp32_last", "expected", "because"),
    [
        (1.0, 0.5, 0.4, BF16, "bf16 is 2.00 times as fast"),
        (1.0, 0.79, 9.0, BF16, "bf16 is 1.27 times as fast"),
        (1.0, 0.81, 9.0, FP32, "bf16 is 1.23 times as fast, and 1.25 is asked for"),
        (1.0, 3.0, 0.8, FP32_LAST, "channels_last is 1.25 times as fast"),
        (1.0, 3.0, 0.9, FP32, "channels_last is 1.11 times as fast, and 1.15 is asked for"),
    ],
)
def test_the_faster_arithmetic_is_taken_where_it_is_clearly_faster(
    home: Path, fp32: float, bf16: float, fp32_last: float, expected: Arithmetic, because: str
) -> None:
    clock = Clock()
    choice = choose(Costly(clock, fp32, bf16, fp32_last), home, clock)
    assert choice.arithmetic == expected
    assert because in choice.why
    assert choice.why.startswith(f"{expected}: ")


def test_what_is_settled_already_is_not_tried(home: Path) -> None:
    clock = Clock()
    model = Costly(clock, 1.0, 0.1, 0.1)
    fixed = choose(model, home, clock, precision="fp32", channels_last=True)
    assert (fixed.arithmetic, fixed.why) == (FP32_LAST, "fp32, channels_last: as asked.")
    table = Batch(torch.rand(4, 3), torch.zeros(4).long(), torch.arange(4))
    of_columns = choose(nn.Linear(3, 2), home, clock, precision="bf16", batch=table)
    assert of_columns.arithmetic == BF16
    assert clock.steps == 0
    assert not list(home.iterdir())


def test_one_of_the_two_can_be_settled_and_the_other_tried(home: Path) -> None:
    clock = Clock()
    model = Costly(clock, 1.0, 0.1, 0.5)
    assert choose(model, home, clock, precision="fp32").arithmetic == FP32_LAST
    assert choose(model, home, clock, channels_last=False).arithmetic == BF16


def test_bf16_that_computes_something_else_is_refused_however_fast(home: Path) -> None:
    """A bias of 1000 cancels in the softmax, but leaves bf16 logits in steps of 4."""
    clock = Clock()
    model = Costly(clock, 1.0, 0.1)
    with torch.no_grad():
        model.head.bias.add_(1000.0)
    choice = choose(model, home, clock, channels_last=False)
    assert choice.arithmetic == FP32
    assert "bf16 does not agree" in choice.why


def test_loss_and_gradient_are_those_of_autocast(home: Path) -> None:
    model, batch = nn.Sequential(nn.Flatten(), nn.Linear(50, 3)), images()
    _, bf16 = try_all(model, CrossEntropy(shift=0, flip=False), batch, [FP32, BF16])
    gradients, losses = [], []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = cross_entropy(model(batch.inputs), batch.targets).sum() / len(batch)
        parts = torch.autograd.grad(loss, list(model.parameters()))
        gradients.append(torch.cat([part.flatten() for part in parts]))
        losses.append(loss.item())
    assert bf16.loss == losses[1] != losses[0]
    assert bf16.loss_change == pytest.approx(abs(losses[1] - losses[0]) / losses[0])
    expected = nn.functional.cosine_similarity(*gradients, dim=0).item()
    assert bf16.cosine == pytest.approx(expected, abs=1e-6)


class Moody(nn.Module):
    """Fails in one kind of arithmetic, or in all of them."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.layer, self.always = nn.Linear(50, 3), always

    def forward(self, inputs: Tensor) -> Tensor:
        if self.always or torch.is_autocast_enabled("cpu"):
            raise NotImplementedError("no such kernel")
        return self.layer(inputs.flatten(1))


def test_a_model_that_fails_in_bf16_is_trained_in_fp32(home: Path) -> None:
    choice = choose(Moody(always=False), home, channels_last=False)
    assert choice.arithmetic == FP32
    assert choice.why == "fp32: bf16 failed (NotImplementedError: no such kernel)."
    record = json.loads(json.dumps(choice.record(), allow_nan=False))
    assert record["trials"][1]["error"] == "NotImplementedError: no such kernel"
    assert "seconds" not in record["trials"][1]


def test_a_model_that_fails_altogether_is_left_to_training_and_not_remembered(home: Path) -> None:
    choice = choose(Moody(always=True), home)
    assert choice.arithmetic == FP32
    assert "a first step failed (NotImplementedError" in choice.why
    assert not (home / "arithmetic.json").exists()


class Drawing(Method):
    """Moves everything that a method may move: a buffer, an attribute, random numbers."""

    drawn: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("drawn", torch.zeros(()))
        self.batches: list[int] = []

    def draw(self, model: nn.Module, batch: Batch) -> Batch:
        self.drawn += torch.rand(())
        self.batches.append(len(batch))
        return Batch(batch.inputs + 0.01 * torch.rand(()), batch.targets, batch.index)

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        losses = cross_entropy(model(batch.inputs), batch.targets)
        return Loss(losses.sum(), len(batch))


def test_model_method_and_random_numbers_stay_what_they_are(home: Path) -> None:
    torch.manual_seed(0)
    net = ResNet(in_channels=2, num_classes=3, image_size=(5, 5), depth=8)
    model, method, batch = nn.Sequential(net, nn.Dropout()), Drawing(), images()
    before = copy.deepcopy((model.state_dict(), method.state_dict(), batch.inputs))
    strides = [parameter.stride() for parameter in model.parameters()]
    rng, threads = torch.get_rng_state(), torch.get_num_threads()
    choice = choose(model, home, method=method, batch=batch)
    assert len(choice.trials) == 3
    for kept, now in zip(before[:2], (model.state_dict(), method.state_dict()), strict=True):
        assert all(torch.equal(now[name], value) for name, value in kept.items())
    assert torch.equal(batch.inputs, before[2])
    assert [parameter.stride() for parameter in model.parameters()] == strides
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training
    assert not method.batches
    assert torch.equal(torch.get_rng_state(), rng)
    assert torch.get_num_threads() == threads
    # All kinds met the same dropout masks and drawn batches: fp32 in two layouts is one loss.
    assert choice.trials[1].cosine == pytest.approx(1.0, abs=1e-4)


def test_a_decision_holds_although_the_stopwatch_changes_its_mind(home: Path) -> None:
    clock = Clock()
    model = Costly(clock, 1.0, 0.5)
    first = choose(model, home, clock)
    model.bf16, steps = 7.0, clock.steps
    again = choose(model, home, clock)
    assert again.arithmetic == first.arithmetic == BF16
    assert clock.steps == steps
    assert again.why == f"{first.why} Measured earlier on this machine."


def test_another_shape_model_or_question_is_decided_anew(home: Path) -> None:
    clock = Clock()
    model = Costly(clock, 1.0, 0.5)
    choose(model, home, clock)
    model.bf16 = 7.0
    assert choose(model, home, clock, batch=images(7)).arithmetic == FP32
    assert choose(model, home, clock, channels_last=False).arithmetic == FP32
    model.extra = nn.Linear(1, 1)
    assert choose(model, home, clock).arithmetic == FP32


def test_a_damaged_memory_is_ignored_and_written_anew(home: Path) -> None:
    clock = Clock()
    model, memory = Costly(clock, 1.0, 0.5), home / "arithmetic.json"
    for damage in ("{", "[]", "\x00\xff"):
        memory.write_text(damage)
        assert choose(model, home, clock).trials
        assert not choose(model, home, clock).trials  # remembered
    (key,) = json.loads(memory.read_text())
    for entry in (3, {}, {"precision": "fp8", "channels_last": False}):
        memory.write_text(json.dumps({key: entry}))
        assert choose(model, home, clock).arithmetic == BF16


def test_a_home_that_cannot_be_written_only_forgets(tmp_path: Path) -> None:
    clock = Clock()
    model, home = Costly(clock, 1.0, 0.5), tmp_path / "home"
    home.write_text("a file where the folder should be")
    assert choose(model, home, clock).trials
    assert choose(model, home, clock).trials


def test_the_first_of_two_processes_decides(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one, which measured at the same time, takes what was written meanwhile."""
    clock = Clock()
    model = Costly(clock, 1.0, 0.5)
    choose(model, home, clock)
    model.bf16 = 7.0
    monkeypatch.setattr(arithmetic, "recall", lambda path, key: None)  # not written yet
    assert choose(model, home, clock).arithmetic == BF16


def test_the_oldest_decisions_go_first(home: Path) -> None:
    path = home / "arithmetic.json"
    path.write_text(json.dumps({str(number): {"n": number} for number in range(MOST)}))
    remember(path, "new", {"n": -1})
    assert recall(path, "0") is None
    assert recall(path, "1") == {"n": 1}
    assert recall(path, "new") == {"n": -1}


@pytest.mark.parametrize(("seconds", "steps"), [(0.001, 16), (0.05, 11), (1.5, 2), (2.5, 1)])
def test_slow_models_are_tried_less(home: Path, seconds: float, steps: int) -> None:
    clock = Clock()
    choose(Costly(clock, seconds, seconds), home, clock, channels_last=False)
    assert clock.steps == 2 * steps


def test_a_real_clock_sees_real_work(home: Path) -> None:
    """Three matrices in place of one are no faster: the CPU time of this thread is what counts."""

    class Slowed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(50, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            if torch.is_autocast_enabled("cpu"):
                end = time.thread_time() + 0.02
                while time.thread_time() < end:
                    pass
            else:
                time.sleep(0.05)  # not work
            return self.layer(inputs.flatten(1))

    choice = choose(Slowed(), home, channels_last=False)
    assert choice.arithmetic == FP32
    assert choice.trials[1].seconds >= 0.02 > choice.trials[0].seconds


def test_bf16_is_not_tried_on_a_processor_that_has_none(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arithmetic, "processor_has_bf16", lambda: False)
    clock = Clock()
    model = Costly(clock, 1.0, 0.1, 0.8)
    choice = choose(model, home, clock)
    assert choice.arithmetic == FP32_LAST
    assert choice.why == (
        "fp32, channels_last: this processor has no instructions for bf16; channels_last is 1.25 "
        "times as fast."
    )
    steps = clock.steps
    settled = choose(model, home, clock, channels_last=False)
    assert settled.arithmetic == FP32 and clock.steps == steps
    assert settled.why == "fp32: this processor has no instructions for bf16."
    asked = choose(model, home, clock, precision="bf16", channels_last=False)
    assert (asked.arithmetic, asked.why) == (BF16, "bf16: as asked.")


@pytest.mark.parametrize(("native", "expected"), [(True, Arithmetic("bf16", True)), (False, FP32)])
def test_a_gpu_is_not_measured(
    home: Path, monkeypatch: pytest.MonkeyPatch, native: bool, expected: Arithmetic
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    clock = Clock()
    there = SimpleNamespace(ndim=4, device=torch.device("cuda"))
    batch = Batch(there, torch.zeros(1), torch.zeros(1))  # type: ignore[arg-type]
    choice = choose(Costly(clock, 1.0, 0.5), home, clock, batch=batch)
    assert choice.arithmetic == expected
    assert choice.why == f"{expected}: by rule on cuda, not measured."
    assert clock.steps == 0
