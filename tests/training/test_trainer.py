"""The loop: equal to a hand-written one whatever the micro-batch, and exact on resuming."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.blocks.schedules import constant, warmup_cosine
from mlexpert.data.batches import TensorStore, cut, epoch_order
from mlexpert.errors import RunError
from mlexpert.training.interrupt import Interrupted
from mlexpert.training.method import Batch, Loss, Method, Task
from mlexpert.training.pieces import pieces as pieces_of
from mlexpert.training.plan import Data, Evaluate, Plan, Stage, Stretch
from mlexpert.training.precision import Engine
from mlexpert.training.tracking import RunFolder
from mlexpert.training.trainer import Trainer

PLAN = Plan(seed=3, batch_size=16, show_progress=False)
EPOCHS = 3


def data(rows: int = 100, seed: int = 0) -> Data:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(rows, 5, generator=generator)
    return Data(TensorStore(inputs), (inputs[:, 0] + inputs[:, 1] > 0).long())


class Plain(Method):
    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        losses = cross_entropy(model(batch.inputs), batch.targets)
        return Loss(losses.sum(), len(batch))


class Weighted(Method):
    """Counts weights instead of examples, so that a mean of means would be wrong."""

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        weights = 1.0 + 3.0 * batch.targets
        losses = cross_entropy(model(batch.inputs), batch.targets)
        return Loss((weights * losses).sum(), weights.sum())


class StopAt(Plain):
    """Sends this process a signal after a given step."""

    def __init__(self, step: int, number: signal.Signals) -> None:
        super().__init__()
        self.left, self.number = step, number

    def after_step(self, model: nn.Module, batch: Batch) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


def net(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(5, 8), nn.Dropout(dropout), nn.ReLU(), nn.Linear(8, 2))


def scores(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> dict[str, float]:
    return {"log_loss": nn.functional.cross_entropy(logits, targets).item()}


def stretch(
    model: nn.Module,
    train: Data | None = None,
    validation: Data | None = None,
    *,
    epochs: int = EPOCHS,
    schedule: Callable[[float], float] | None = None,
    evaluate: Evaluate = scores,
    number: int = 0,
    **stage,
) -> Stretch:
    """One task, with AdamW over all parameters."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    return Stretch(
        Task(number, torch.tensor([50, 50])),
        train or data(),
        validation or data(40, 1),
        evaluate,
        Stage(epochs, optimizer, schedule or warmup_cosine(0.1), **stage),
    )


def trainer(
    folder: Path,
    plan: Plan = PLAN,
    method: Method | None = None,
    *,
    model: nn.Module | None = None,
    precision: str = "fp32",
    fresh: bool = True,
    **options,
) -> Trainer:
    """A trainer on a stream of one task; `options` are those of `stretch`."""
    model = model or net()
    run = RunFolder(folder, {}, fresh=fresh)
    stream = [stretch(model, **options)]
    return Trainer(model, method or Plain(), stream, plan, Engine(precision), run)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def test_losses_are_those_of_a_hand_written_loop_bit_for_bit(tmp_path: Path) -> None:
    train = data()
    here = trainer(tmp_path / "run", schedule=constant())
    here.run()

    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    best, best_loss = None, float("inf")
    for epoch in range(EPOCHS):
        model.train()
        for index in cut(epoch_order(100, seed=PLAN.seed, epoch=epoch), PLAN.batch_size):
            loss = nn.functional.cross_entropy(model(train.store.take(index)), train.targets[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        validation = data(40, 1)
        with torch.no_grad():
            model.eval()
            value = scores(model(validation.store.rows), validation.targets)["log_loss"]
        if value < best_loss:
            best, best_loss = weights(model).clone(), value
    assert torch.equal(weights(here.model), best)


@pytest.mark.parametrize("method", [Plain, Weighted])
@pytest.mark.parametrize("microbatch", [1, 5, 16])
def test_microbatches_change_nothing(tmp_path: Path, method: type[Method], microbatch: int) -> None:
    results = []
    for number, size in enumerate((None, microbatch)):
        torch.set_default_dtype(torch.float64)
        try:
            train, validation = _double(data()), _double(data(40, 1))
            here = trainer(
                tmp_path / str(number),
                replace(PLAN, microbatch=size),
                method(),
                train=train,
                validation=validation,
            )
            here.run()
        finally:
            torch.set_default_dtype(torch.float32)
        results.append(weights(here.model))
    assert torch.allclose(*results, atol=1e-12)


def _double(some: Data) -> Data:
    return Data(TensorStore(some.store.rows.double()), some.targets)


@pytest.mark.parametrize("step", [1, 6, 7, 8, 13, 20])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resuming_equals_not_stopping_bit_for_bit(
    tmp_path: Path, precision: str, step: int
) -> None:
    """Seven steps an epoch: within one, at its end, at a start."""
    # Dropout draws from the generator in every micro-batch; the average is one more state.
    plan = replace(PLAN, microbatch=5, ema=0.8)
    whole = trainer(tmp_path / "whole", plan, model=net(0.3), precision=precision)
    torch.manual_seed(0)
    whole.run()

    stop = StopAt(step, signal.SIGINT)
    broken = trainer(tmp_path / "broken", plan, stop, model=net(0.3), precision=precision)
    torch.manual_seed(0)
    with pytest.raises(Interrupted, match=rf"after step {step} of 21.*run_dir="):
        broken.run()

    resumed = trainer(tmp_path / "broken", plan, model=net(0.3), precision=precision, fresh=False)
    torch.manual_seed(99)
    resumed.run()
    assert torch.equal(weights(resumed.model), weights(whole.model))
    rows = [
        [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("whole", "broken")
    ]
    for row in rows[0] + rows[1]:
        del row["seconds"]
    assert rows[0] == rows[1]


def test_sigterm_checkpoints_too(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="SIGTERM"):
        trainer(tmp_path, method=StopAt(4, signal.SIGTERM)).run()
    assert (tmp_path / "checkpoints" / "step-000000004").is_dir()


def test_best_epoch_is_kept_and_patience_stops(tmp_path: Path) -> None:
    curve = iter([0.9, 0.5, 0.6, 0.7, 0.8, 0.1])
    seen: list[Tensor] = []

    def evaluate(
        logits: Tensor, targets: Tensor, weights_of_rows: Tensor | None
    ) -> dict[str, float]:
        seen.append(weights(here.model).clone())
        return {"log_loss": next(curve)}

    here = trainer(tmp_path, replace(PLAN, patience=2), evaluate=evaluate, epochs=6)
    end = here.run()
    assert (end.best["epoch"], end.last["epoch"], end.epoch) == (2, 4, 4)
    assert torch.equal(weights(here.model), seen[1])


def test_a_loss_that_is_not_finite_stops_and_says_where(tmp_path: Path) -> None:
    bad = data()
    bad.store.rows[37, 2] = float("nan")
    with pytest.raises(RunError, match=r"not finite at step \d+ \(epoch 1\)"):
        trainer(tmp_path, train=bad).run()


def test_hooks_are_called_in_their_order(tmp_path: Path) -> None:
    calls: list[str] = []

    class Noted(Plain):
        def begin_task(self, model: nn.Module, task: Task) -> None:
            calls.append("begin_task")

        def draw(self, model: nn.Module, batch: Batch) -> Batch:
            calls.append(f"draw {len(batch)}")
            return batch

        def loss(self, model: nn.Module, batch: Batch) -> Loss:
            calls.append(f"loss {len(batch)}")
            return super().loss(model, batch)

        def after_backward(self, model: nn.Module) -> None:
            assert all(parameter.grad is not None for parameter in model.parameters())
            calls.append("after_backward")

        def after_step(self, model: nn.Module, batch: Batch) -> None:
            calls.append(f"after_step {len(batch)}")

        def end_task(self, model: nn.Module, task: Task) -> None:
            calls.append("end_task")

    plan = replace(PLAN, batch_size=60, microbatch=40)
    trainer(tmp_path, plan, Noted(), epochs=1).run()
    step = ["loss 30", "loss 30", "after_backward", "after_step 60"]
    last = ["loss 40", "after_backward", "after_step 40"]
    assert calls == ["begin_task", "draw 60", *step, "draw 40", *last, "end_task"]


@pytest.mark.parametrize(("rows", "size", "pieces"), [(65, 64, [33, 32]), (7, 3, [3, 2, 2])])
def test_pieces_are_even_so_that_none_is_a_single_row(rows: int, size: int, pieces) -> None:
    index = torch.arange(rows)
    cuts = pieces_of(Batch(index[:, None], index, index), size)
    assert [len(piece) for piece in cuts] == pieces
    assert torch.equal(torch.cat([piece.inputs for piece in cuts])[:, 0], index)


def test_two_precisions_in_one_process(tmp_path: Path) -> None:
    curves = []
    for precision in ("fp32", "bf16", "fp32"):
        here = trainer(tmp_path / str(len(curves)), precision=precision)
        curves.append(here.run().last["log_loss"])
    assert curves[0] == curves[2] != curves[1]
    assert curves[1] == pytest.approx(curves[0], abs=0.02)


def test_the_average_is_what_its_formula_says_and_is_what_is_kept(tmp_path: Path) -> None:
    seen: list[Tensor] = []
    plain = trainer(tmp_path / "plain", epochs=1)
    plain.method.after_step = lambda model, batch: seen.append(weights(model).clone())
    plain.run()
    expected = weights(net())
    for step, now in enumerate(seen, start=1):
        decay = min(0.8, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * now

    averaged = trainer(tmp_path / "averaged", replace(PLAN, ema=0.8), epochs=1)
    averaged.run()
    assert torch.allclose(weights(averaged.model), expected, atol=1e-6)
    assert not torch.allclose(expected, seen[-1], atol=1e-3)


def test_clipping_bounds_the_gradient(tmp_path: Path) -> None:
    norms: list[float] = []

    class Huge(Plain):
        def loss(self, model: nn.Module, batch: Batch) -> Loss:
            loss = super().loss(model, batch)
            return Loss(loss.total * 1e4, loss.count)

        def after_step(self, model: nn.Module, batch: Batch) -> None:
            squares = [parameter.grad.square().sum() for parameter in model.parameters()]
            norms.append(torch.stack(squares).sum().sqrt().item())

    trainer(tmp_path, replace(PLAN, clip_norm=0.5), Huge()).run()
    assert max(norms) <= 0.5 + 1e-4


def test_what_a_method_makes_in_begin_task_is_there_when_a_run_goes_on(tmp_path: Path) -> None:
    class Counting(StopAt):
        """A buffer, an attribute and plain state, none of which the constructor makes."""

        def begin_task(self, model: nn.Module, task: Task) -> None:
            self.register_buffer("counts", torch.zeros(2))
            self.mask = torch.ones(2)
            self.seen: list[int] = []

        def after_step(self, model: nn.Module, batch: Batch) -> None:
            self.counts += torch.bincount(batch.targets, minlength=2) * self.mask
            self.seen.append(len(batch))
            super().after_step(model, batch)

        def get_extra_state(self) -> list[int]:
            return self.seen

        def set_extra_state(self, state: list[int]) -> None:
            self.seen = state

    whole = trainer(tmp_path / "whole", method=Counting(0, signal.SIGTERM))
    whole.run()
    broken = trainer(tmp_path / "broken", method=Counting(9, signal.SIGTERM))
    with pytest.raises(Interrupted):
        broken.run()
    resumed = trainer(tmp_path / "broken", method=Counting(0, signal.SIGTERM), fresh=False)
    resumed.run()
    assert torch.equal(resumed.method.counts, whole.method.counts)
    assert resumed.method.seen == whole.method.seen
    assert torch.equal(weights(resumed.model), weights(whole.model))
