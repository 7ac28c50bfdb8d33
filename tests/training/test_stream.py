"""Several tasks one after the other: each begins anew, and going on equals not stopping."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mlexpert.blocks.samplers.class_balanced import class_balanced
from mlexpert.blocks.schedules import warmup_cosine
from mlexpert.errors import RunError
from mlexpert.training import checkpoint, settling
from mlexpert.training.interrupt import Interrupted
from mlexpert.training.method import Batch, Task
from mlexpert.training.plan import Plan, Stretch
from mlexpert.training.precision import Engine
from mlexpert.training.tracking import RunFolder
from mlexpert.training.trainer import Trainer
from tests.training.test_trainer import PLAN, Plain, StopAt, data, stretch, weights


def net() -> nn.Sequential:
    """A trunk that can be frozen, with running statistics and dropout, and a head."""
    torch.manual_seed(7)
    trunk = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU())
    return nn.Sequential(trunk, nn.Linear(8, 2))


def second_stage(model: nn.Sequential) -> list[Stretch]:
    """Two epochs, then two of the head alone on the same rows, in an order of its own."""
    first = stretch(model, epochs=2)
    options = {"number": 1, "order": class_balanced, "frozen": (model[0],)}
    return [first, stretch(model, first.train, first.validation, epochs=2, **options)]


def other_rows(model: nn.Sequential) -> list[Stretch]:
    """Two tasks with rows of their own; the second is scored on both."""
    return [
        stretch(model, data(100, 0), data(40, 1), epochs=2),
        stretch(model, data(60, 2), data(80, 3), epochs=2, number=1),
    ]


def train(
    folder: Path,
    make: Callable[[nn.Sequential], list[Stretch]],
    plan: Plan = PLAN,
    method: Plain | None = None,
    *,
    fresh: bool = True,
    seed: int = 0,
) -> Trainer:
    model = net()
    run = RunFolder(folder, {}, fresh=fresh)
    here = Trainer(model, method or Plain(), make(model), plan, Engine("fp32"), run)
    torch.manual_seed(seed)
    here.run()
    return here


def one_optimizer(model: nn.Sequential) -> list[Stretch]:
    """Two tasks with rows of their own, and one optimiser for both."""
    first, second = other_rows(model)
    return [first, replace(second, stage=replace(second.stage, optimizer=first.stage.optimizer))]


def lines(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


class Remembering(StopAt):
    """Keeps rows in a buffer that grows, makes a teacher, and writes a buffer at a task's end."""

    def __init__(self, stop_after: int = 0) -> None:
        super().__init__(stop_after, signal.SIGINT)
        self.register_buffer("memory", torch.zeros(0, 5))
        self.teacher: nn.Module | None = None
        self.tasks: list[str] = []

    def begin_task(self, model: nn.Module, task: Task) -> None:
        self.tasks.append(f"begin {task.number}")
        if task.number == 1:
            self.teacher = nn.Linear(5, 2)

    def draw(self, model: nn.Module, batch: Batch) -> Batch:
        noise = torch.randn_like(batch.inputs) / 10 + self.memory.sum() / 1000
        return replace(batch, inputs=batch.inputs + noise)

    def after_step(self, model: nn.Module, batch: Batch) -> None:
        self.memory = torch.cat([self.memory, batch.inputs[:2]])
        super().after_step(model, batch)

    def end_task(self, model: nn.Module, task: Task) -> None:
        self.tasks.append(f"end {task.number}")
        self.register_buffer(f"importance_{task.number}", weights(model).square())


@pytest.mark.parametrize("step", [3, 14, 15, 18])
@pytest.mark.parametrize("make", [second_stage, other_rows, one_optimizer])
@pytest.mark.parametrize("keep", ["best", "last"])
def test_going_on_equals_not_stopping_bit_for_bit(
    tmp_path: Path, make, step: int, keep: str
) -> None:
    """Seven steps an epoch: in the first task, at its last and the next one's first, in that."""
    plan = replace(PLAN, microbatch=5, ema=0.8, keep=keep)
    whole = train(tmp_path / "whole", make, plan, Remembering())
    with pytest.raises(Interrupted, match=f"after step {step} of {sum(whole.steps)}"):
        train(tmp_path / "broken", make, plan, Remembering(step))
    resumed = train(tmp_path / "broken", make, plan, Remembering(), fresh=False, seed=99)
    assert torch.equal(weights(resumed.model), weights(whole.model))
    ours, theirs = whole.method.state_dict(), resumed.method.state_dict()
    assert ours.keys() == theirs.keys() >= {"memory", "importance_0", "teacher.weight"}
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert lines(tmp_path / "whole") == lines(tmp_path / "broken")


@pytest.mark.parametrize("hook", ["end_task", "begin_task", "draw"])
def test_a_run_that_is_killed_between_two_tasks_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    """Before the second task's first step, which finds a checkpoint of the border."""
    whole = train(tmp_path / "whole", second_stage, method=Remembering())
    usual = getattr(Remembering, hook)

    def kill(self: Remembering, model: nn.Module, given: Task | Batch) -> object:
        if self.left == -14:  # steps of the first task
            raise KeyboardInterrupt
        return usual(self, model, given)

    with monkeypatch.context() as patched:
        patched.setattr(Remembering, hook, kill)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "broken", second_stage, method=Remembering())
    newest = checkpoint.read_newest(tmp_path / "broken" / "checkpoints")
    assert newest is not None
    assert newest[1]["position"]["task"] == (1 if hook == "draw" else 0)
    resumed = train(tmp_path / "broken", second_stage, method=Remembering(), fresh=False, seed=1)
    assert torch.equal(weights(resumed.model), weights(whole.model))
    assert lines(tmp_path / "whole") == lines(tmp_path / "broken")


def test_each_task_begins_where_the_one_before_left_its_weights(tmp_path: Path) -> None:
    """The kept weights, not the last ones: those of the first epoch, whose score is the best."""
    curve = iter([0.1, 0.9, 0.3, 0.2])
    seen: list[Tensor] = []
    begun: list[Tensor] = []

    def evaluate(logits: Tensor, targets: Tensor, rows: Tensor | None) -> dict[str, float]:
        seen.append(weights(here[0]).clone())
        return {"log_loss": next(curve)}

    class Looking(Plain):
        def begin_task(self, model: nn.Module, task: Task) -> None:
            begun.append(weights(model).clone())

        def end_task(self, model: nn.Module, task: Task) -> None:
            begun.append(weights(model).clone())

    here: list[nn.Module] = []

    def make(model: nn.Sequential) -> list[Stretch]:
        here.append(model)
        return [replace(one, evaluate=evaluate) for one in other_rows(model)]

    end = train(tmp_path, make, method=Looking()).at
    assert torch.equal(begun[1], seen[0]) and torch.equal(begun[2], seen[0])
    assert torch.equal(begun[3], seen[3]) and torch.equal(weights(here[0]), seen[3])
    assert (end.best["epoch"], end.best["log_loss"]) == (4, 0.2)  # though 0.1 came before


def test_epochs_go_on_counting_and_lines_name_their_task(tmp_path: Path) -> None:
    here = train(tmp_path, second_stage, replace(PLAN, patience=1))
    rows = lines(tmp_path)
    epochs = [row["epoch"] for row in rows if row["split"] == "validation"]
    assert epochs == list(range(1, here.at.epoch + 1))
    assert sorted({row["task"] for row in rows}) == [0, 1]
    assert [row["task"] for row in rows] == sorted(row["task"] for row in rows)
    alone = train(tmp_path / "one", lambda model: [stretch(model)])
    assert len(alone.stream) == 1 and "task" not in lines(tmp_path / "one")[0]


def test_frozen_modules_stay_as_they_were_and_are_freed_afterwards(tmp_path: Path) -> None:
    trunks: list[Tensor] = []

    class Looking(Plain):
        def begin_task(self, model: nn.Module, task: Task) -> None:
            trunks.append(weights(model[0]).clone())

        def after_step(self, model: nn.Module, batch: Batch) -> None:
            if len(trunks) == 2:
                assert not model[0][2].training and model[1].training
                assert model[0][0].weight.grad is None and model[1].weight.grad is not None

    here = train(tmp_path, second_stage, method=Looking())
    assert not torch.equal(trunks[0], trunks[1])
    assert torch.equal(trunks[1], weights(here.model[0]))  # BatchNorm's statistics as well
    assert all(parameter.requires_grad for parameter in here.model.parameters())


def test_what_an_optimiser_does_not_hold_takes_no_gradient(tmp_path: Path) -> None:
    def head_alone(model: nn.Sequential) -> list[Stretch]:
        one = stretch(model, epochs=1)
        stage = replace(one.stage, optimizer=torch.optim.SGD(model[1].parameters(), lr=0.1))
        return [replace(one, stage=stage)]

    class Looking(Plain):
        def after_step(self, model: nn.Module, batch: Batch) -> None:
            assert model[0][0].weight.grad is None and model[1].weight.grad is not None

    train(tmp_path, head_alone, method=Looking())


def test_schedule_and_moments_begin_anew(tmp_path: Path) -> None:
    rates: list[float] = []

    class Looking(Plain):
        def after_step(self, model: nn.Module, batch: Batch) -> None:
            optimizer = here[0].stage.optimizer if len(rates) < 14 else here[1].stage.optimizer
            rates.append(optimizer.param_groups[0]["lr"])
            steps = {int(slots["step"]) for slots in optimizer.state.values()}
            assert steps == {1 + (len(rates) - 1) % 14}

    here: list[Stretch] = []

    def make(model: nn.Sequential) -> list[Stretch]:
        here.extend(second_stage(model))
        return here

    train(tmp_path, make, method=Looking())
    expected = [0.05 * warmup_cosine(0.1)(step / 14) for step in range(14)]
    assert rates == pytest.approx(2 * expected)


def test_the_last_weights_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    curve = iter([0.2, 0.9, 0.5])
    seen: list[Tensor] = []

    def evaluate(logits: Tensor, targets: Tensor, rows: Tensor | None) -> dict[str, float]:
        seen.append(weights(here[0]).clone())
        return {"log_loss": next(curve)}

    here: list[nn.Module] = []

    def make(model: nn.Sequential) -> list[Stretch]:
        here.append(model)
        return [stretch(model, evaluate=evaluate)]

    # What is evaluated is the moving average, so that is what is kept.
    end = train(tmp_path, make, replace(PLAN, keep="last", ema=0.8)).at
    assert torch.equal(weights(here[0]), seen[2])
    assert (end.kept("last")["epoch"], end.kept("best")["epoch"]) == (3, 1)


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (lambda targets, done, generator: torch.arange(99), r"\(99,\).*\(100,\)"),
        (lambda targets, done, generator: torch.arange(100) + 1, "rows 1 to 100.*0 to 99"),
        (lambda targets, done, generator: torch.arange(100) - 1, "rows -1 to 98"),
        (lambda targets, done, generator: torch.zeros(100), "float32"),
    ],
)
def test_an_order_that_is_none_is_refused(tmp_path: Path, order, said: str) -> None:
    with pytest.raises(RunError, match=said):
        train(tmp_path, lambda model: [stretch(model, order=order)])


def test_an_order_is_told_how_far_its_task_is_and_is_drawn_anew(tmp_path: Path) -> None:
    told: list[float] = []
    drawn: list[Tensor] = []

    def order(targets: Tensor, progress: float, generator: torch.Generator) -> Tensor:
        told.append(progress)
        drawn.append(torch.randperm(len(targets), generator=generator))
        return drawn[-1]

    def make(model: nn.Sequential) -> list[Stretch]:
        first = stretch(model, epochs=2, order=order)
        return [first, stretch(model, first.train, first.validation, epochs=4, order=order)]

    train(tmp_path, make)
    assert told == [0.0, 0.5, 0.0, 0.25, 0.5, 0.75]
    assert len({tuple(rows.tolist()) for rows in drawn}) == 6


class Doubling(Plain):
    """Draws every row twice from the second task on, as replay does with others."""

    number = 0

    def begin_task(self, model: nn.Module, task: Task) -> None:
        self.number = task.number

    def draw(self, model: nn.Module, batch: Batch) -> Batch:
        return batch.map(lambda column: torch.cat([column] * min(2, 1 + self.number)))


def three_tasks(model: nn.Sequential) -> list[Stretch]:
    first, *others = other_rows(model)
    last = stretch(model, data(80, 4), data(20, 5), epochs=1, number=2)
    return [first, *others, last]


def test_the_batch_is_cut_anew_only_where_a_step_takes_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sized: list[int] = []
    size = settling.settle_memory

    def counted(*args):
        sized.append(len(args[4].targets))
        assert args[0].training, "in eval mode a step takes less"
        return size(*args)

    monkeypatch.setattr(settling, "settle_memory", counted)
    plan = replace(PLAN, microbatch="auto")
    for number, make in enumerate((second_stage, three_tasks)):
        train(tmp_path / str(number), make, plan)
    assert sized == [100, 100]
    train(tmp_path / "more", three_tasks, plan, Doubling())
    assert sized == [100, 100, 100, 60]


def test_an_optimiser_that_tasks_share_keeps_what_it_gathered(tmp_path: Path) -> None:
    """As one loop over both tasks would; one of its own begins each task anew."""
    counts: dict[str, list[int]] = {}

    class Counting(Plain):
        def begin_task(self, model: nn.Module, task: Task) -> None:
            counts.setdefault(name, []).append(len(stretches[task.number].stage.optimizer.state))

    for name, make in (("shared", one_optimizer), ("own", other_rows)):
        stretches: list[Stretch] = []

        def noted(
            model: nn.Sequential, make: Callable = make, into: list[Stretch] = stretches
        ) -> list[Stretch]:
            into += make(model)
            return into

        here = train(tmp_path / name, noted, method=Counting())
        assert not any(one.stage.optimizer.state for one in here.stream)  # and leaves it at last
    assert counts["own"] == [0, 0] and counts["shared"][0] == 0 < counts["shared"][1]


def test_a_task_ends_with_its_rows_in_their_order_and_in_eval_mode(tmp_path: Path) -> None:
    seen: list[Tensor] = []

    class Looking(Plain):
        def draw(self, model: nn.Module, batch: Batch) -> Batch:
            return replace(batch, inputs=batch.inputs * 0)

        def end_task(self, model: nn.Module, task: Task) -> None:
            assert task.batches is not None and not model.training
            seen.append(torch.cat([batch.inputs for batch in task.batches()]))
            again = torch.cat([batch.index for batch in task.batches()])
            assert torch.equal(again, torch.arange(len(again)))

    here = train(tmp_path, other_rows, method=Looking())
    for stretch_, rows in zip(here.stream, seen, strict=True):
        index = torch.arange(len(rows))
        assert torch.equal(rows, stretch_.train.store.take(index))


def test_a_task_may_be_learned_at_its_end_alone(tmp_path: Path) -> None:
    class Solving(Plain):
        def end_task(self, model: nn.Module, task: Task) -> None:
            with torch.no_grad():
                model[1].bias += 1.0

    def no_steps(model: nn.Sequential) -> list[Stretch]:
        return [replace(one, stage=replace(one.stage, epochs=0)) for one in other_rows(model)]

    before = net()[1].bias.detach().clone()
    here = train(tmp_path, no_steps, method=Solving())
    assert torch.allclose(here.model[1].bias.detach(), before + 2.0)
    assert here.at.step == 0 and here.at.best
    assert [row["split"] for row in lines(tmp_path)] == ["validation", "validation"]


def test_after_each_task_and_before_the_first_someone_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    model = net()
    run = RunFolder(tmp_path, {}, fresh=True)
    here = Trainer(
        model,
        Plain(),
        other_rows(model),
        PLAN,
        Engine("fp32"),
        run,
        after_task=lambda trainer, number: told.append((number, trainer.at.step)),
    )
    here.run()
    assert told == [(-1, 0), (0, here.steps[0]), (1, sum(here.steps))]
