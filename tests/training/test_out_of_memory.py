"""Memory that runs out in mid-run: the step is made of smaller pieces, none is lost or repeated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mlexpert.errors import RunError
from mlexpert.training.method import Batch, Loss
from mlexpert.training.oom import is_out_of_memory
from tests.training.test_trainer import PLAN, Plain, data, trainer, weights

CPU_WORDS = "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"


class Failing(Plain):
    """Runs out of memory in given passes, counted over the run, in forward or in backward."""

    def __init__(self, passes: set[int], where: str, error: type[Exception] = RuntimeError) -> None:
        super().__init__()
        self.passes, self.where, self.error, self.count = passes, where, error, 0
        self.steps: list[list[int]] = []
        self.rows: list[int] = []

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        self.count += 1
        if self.where == "forward" and self.count in self.passes:
            model(batch.inputs)  # BatchNorm's statistics and dropout's numbers have moved
            raise self.error(CPU_WORDS)
        loss = super().loss(model, batch)
        if self.where == "backward" and self.count in self.passes:
            loss.total.register_hook(self._fail)
        self.rows.append(len(batch))
        return loss

    def _fail(self, gradient: Tensor) -> None:
        raise self.error(CPU_WORDS)

    def after_step(self, model: nn.Module, batch: Batch) -> None:
        self.steps.append(batch.index.tolist())


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("error", [RuntimeError, MemoryError, torch.OutOfMemoryError])
@pytest.mark.parametrize("failing", [1, 2, 3, 4, 10])
def test_no_step_is_lost_and_none_is_repeated(
    tmp_path: Path, where: str, error: type[Exception], failing: int
) -> None:
    plan = replace(PLAN, microbatch=4)
    reference = Failing(set(), where)
    here = trainer(tmp_path / "fixed", plan, reference)
    here.run()

    method = Failing({failing}, where, error)
    short = trainer(tmp_path / "short", plan, method)
    with pytest.warns(UserWarning, match=r"Memory ran out in step .* pieces of 2 rows"):
        short.run()
    assert method.steps == reference.steps
    assert short.at.step == short.at.moved == here.at.step
    assert max(method.rows[-5:]) == 2
    assert torch.allclose(weights(short.model), weights(here.model), atol=1e-6)
    memory = json.loads((tmp_path / "short" / "run.json").read_text())["memory"]
    assert (memory["cut"]["size"], memory["cut"]["retries"]) == (2, 1)


def test_statistics_and_dropout_are_those_of_a_run_that_had_enough(tmp_path: Path) -> None:
    """One pass fails and the retry has the same pieces: then everything is equal bit for bit."""

    def model() -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.4), nn.Linear(8, 2))

    plan, few = replace(PLAN, microbatch=8), {"epochs": 1, "train": data(16)}
    torch.manual_seed(1)
    here = trainer(tmp_path / "fixed", plan, model=model(), **few)
    here.run()
    torch.manual_seed(1)
    short = trainer(
        tmp_path / "short",
        replace(plan, microbatch=16),
        Failing({1}, "forward"),
        model=model(),
        **few,
    )
    with pytest.warns(UserWarning, match="pieces of 8 rows"):
        short.run()
    assert torch.equal(weights(short.model), weights(here.model))


def test_it_halves_as_often_as_it_must(tmp_path: Path) -> None:
    class TooBig(Plain):
        def loss(self, model: nn.Module, batch: Batch) -> Loss:
            if len(batch) > 3:
                raise RuntimeError(CPU_WORDS)
            return super().loss(model, batch)

    here = trainer(tmp_path / "run", PLAN, TooBig(), epochs=1)
    with pytest.warns(UserWarning, match="pieces of"):
        here.run()
    assert here.step.cut.size == 2 and here.step.cut.retries == 3
    assert here.at.moved == 7


def test_the_last_resort_is_to_compute_activations_again(tmp_path: Path) -> None:
    class OnlyRecomputed(Plain):
        def loss(self, model: nn.Module, batch: Batch) -> Loss:
            if "forward" not in vars(model):
                raise RuntimeError(CPU_WORDS)
            return super().loss(model, batch)

    here = trainer(tmp_path / "run", replace(PLAN, microbatch=1), OnlyRecomputed(), epochs=1)
    with pytest.warns(UserWarning, match="activations computed again in backward"):
        here.run()
    assert here.step.cut.checkpointing

    reference = trainer(tmp_path / "fixed", replace(PLAN, microbatch=1), epochs=1)
    reference.run()
    assert torch.equal(weights(here.model), weights(reference.model))


def test_a_single_row_that_does_not_fit_names_what_is_available(tmp_path: Path) -> None:
    class Never(Plain):
        def loss(self, model: nn.Module, batch: Batch) -> Loss:
            raise RuntimeError(CPU_WORDS)

    here = trainer(tmp_path / "run", PLAN, Never())
    before = weights(here.model).clone()
    with (
        pytest.warns(UserWarning, match="Memory ran out"),
        pytest.raises(RunError, match=r"step 1 with a single row.* MiB are available"),
    ):
        here.run()
    assert torch.equal(weights(here.model), before)


def test_inside_the_optimiser_it_is_never_retried(tmp_path: Path) -> None:
    here = trainer(tmp_path / "run")

    def fail(*args: object) -> None:
        raise RuntimeError(CPU_WORDS)

    here.stretch.stage.optimizer.step = fail
    with pytest.raises(RunError, match="inside the optimiser's step 1.*not repeated"):
        here.run()


def test_looking_at_rows_halves_too(tmp_path: Path) -> None:
    class Narrow(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            if not self.training and len(inputs) > 10:
                raise RuntimeError(CPU_WORDS)
            return super().forward(inputs)

    torch.manual_seed(7)
    model = Narrow(5, 2)
    here = trainer(tmp_path / "run", model=model)
    logits = here.logits(data(40, 1).store)
    with torch.no_grad():
        assert torch.allclose(
            logits, nn.functional.linear(data(40, 1).store.rows, model.weight, model.bias)
        )


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Expected more than 1 value per channel when training"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ],
)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_torch_says_it_in_these_words() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)


def test_what_a_loss_counts_is_counted_once(tmp_path: Path) -> None:
    class Counting(Failing):
        def __init__(self, passes: set[int]) -> None:
            super().__init__(passes, "backward")
            self.register_buffer("seen", torch.zeros(()))

        def loss(self, model: nn.Module, batch: Batch) -> Loss:
            self.seen += len(batch)
            return super().loss(model, batch)

    method = Counting({3})
    with pytest.warns(UserWarning, match="Memory ran out"):
        trainer(tmp_path, replace(PLAN, microbatch=4), method).run()
    assert method.seen == 3 * 100
