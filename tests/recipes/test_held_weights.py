"""EWC, SI and MAS (and LwF beside them): what is held, by how much, and where it helps."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from mlexpert.blocks.importance.fisher import fisher
from mlexpert.blocks.layers.task_classes import TaskClasses
from mlexpert.errors import InputError
from mlexpert.preparation import Roles, prepare
from mlexpert.recipes import get
from mlexpert.recipes.continual_cls.ewc import EwcMethod
from mlexpert.recipes.continual_cls.mas import MasMethod
from mlexpert.recipes.continual_cls.si import SiMethod
from mlexpert.training.interrupt import Interrupted
from mlexpert.training.memory.predict import predict_peak
from mlexpert.training.method import Batch, Method, Task
from mlexpert.training.methods.held_weights import HeldWeights

DIGITS = load_digits()
ROWS = np.round(DIGITS.images * (255 / 16)).astype(np.uint8)[:900], DIGITS.target[:900]
METHODS = ("ewc", "si", "mas")
every_method = pytest.mark.parametrize("name", METHODS)


def fit(name: str, folder: Path, **fields):
    recipe = get(
        f"continual-cls/{name}",
        **{"backbone": "mlp", "batch_size": 32, "precision": "fp32", "epochs": 6, **fields},
    )
    return recipe.fit(ROWS, run_dir=folder, progress=False)


def built(name: str, **fields):
    recipe = get(f"continual-cls/{name}", **fields)
    schema = prepare(recipe, ROWS, Roles()).schema
    settled = recipe.settle(schema)
    return settled, settled.build(schema)


def test_with_the_task_told_all_forget_less_than_fine_tuning(tmp_path: Path) -> None:
    told = {"scenario": "task", "order_seed": 1}
    # In so few steps a weight does little for the loss, and little is held.
    strengths = {"si": {"strength": 1e3}, "mas": {"strength": 10.0}}
    found = {
        name: fit(name, tmp_path / name, **told, **strengths.get(name, {})).evaluate()
        for name in ("naive", *METHODS, "lwf")
    }
    forgotten = {name: metrics["forgetting"] for name, metrics in found.items()}
    assert forgotten["naive"] > 0.05
    for name in (*METHODS, "lwf"):
        assert forgotten[name] < 0.5 * forgotten["naive"]
        assert found[name]["average_accuracy"] > found["naive"]["average_accuracy"] + 0.02


def test_among_all_classes_ewc_does_not_beat_fine_tuning(tmp_path: Path) -> None:
    """As van de Ven et al. 2022 found: what is held does not tell classes of two tasks apart."""
    metrics = fit("ewc", tmp_path, epochs=3).evaluate()
    assert metrics["average_accuracy"] < 0.4 < metrics["task_aware_accuracy"]


@pytest.mark.parametrize("name", ["si", "lwf"])
def test_going_on_in_a_later_task_equals_not_stopping(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(name, tmp_path / "whole", epochs=1)
    steps = 0

    def stop(self: Method, model: nn.Module, batch: Batch) -> None:
        nonlocal steps
        steps += 1
        if steps == 10:  # in the third task, of four steps each
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Method, "after_step", stop)
        with pytest.raises(Interrupted):
            fit(name, tmp_path / "broken", epochs=1)
    resumed = fit(name, tmp_path / "broken", epochs=1)
    for part in ("model", "method"):
        one, other = (state_of(fitted, part) for fitted in (whole, resumed))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def state_of(fitted, part: str) -> dict[str, Tensor]:
    parts = fitted.parts
    return (parts.network.model if part == "model" else parts.method).state_dict()


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 4))


def batch_of(classes: tuple[int, ...], seed: int, rows: int = 8) -> Batch:
    torch.manual_seed(seed)
    targets = torch.tensor(classes)[torch.randint(len(classes), (rows,))]
    return Batch(torch.randn(rows, 3), targets, torch.arange(rows))


def task_of(number: int, batch: Batch) -> Task:
    counts = torch.bincount(batch.targets, minlength=4)
    halves = [batch.map(lambda column, at=at: column[at::2]) for at in (0, 1)]
    return Task(number, counts, lambda: iter(halves))


def learn(method: HeldWeights, model: nn.Module, lr: float = 0.1) -> None:
    """Learn two tasks as the trainer does, with five steps of SGD each."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for number, classes in enumerate([(0, 1), (2, 3)]):
        batch = batch_of(classes, seed=number)
        task = task_of(number, batch)
        method.begin_task(model, Task(number, task.class_counts))
        for _ in range(5):
            optimizer.zero_grad()
            drawn = method.draw(model, batch)
            loss = method.loss(model.train(), drawn)
            (loss.total / loss.count).backward()
            method.after_backward(model)
            optimizer.step()
            method.after_step(model, drawn)
        method.end_task(model.eval(), task)


def test_ewc_is_the_papers_loss() -> None:
    """Training by autograd on the loss with its penalty written out gives the same weights."""
    model, classes = network(), TaskClasses(4)
    method = EwcMethod(model, classes, decay=None, labels="expected", strength=50.0, by_task=False)
    learn(method, model)
    plain, seen = network(), TaskClasses(4)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    held: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
    for number, own in enumerate([(0, 1), (2, 3)]):
        batch = batch_of(own, seed=number)
        seen.see(batch.targets, number)
        for _ in range(5):
            optimizer.zero_grad()
            loss = F.cross_entropy(seen.of_seen(plain(batch.inputs)), batch.targets)
            for importance, weights in held:
                for name, parameter in plain.named_parameters():
                    away = (parameter - weights[name]).square()
                    loss = loss + 50.0 / 2 * (importance[name] * away).sum()
            loss.backward()
            optimizer.step()
        rows = [(batch.inputs, batch.targets)]
        importance = fisher(plain.eval(), rows, mask=lambda logits, _: seen.of_seen(logits))
        held.append((importance, {n: p.detach().clone() for n, p in plain.named_parameters()}))
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_path_integral_never_sees_the_penalty() -> None:
    """Held fast, the weights hardly move; what they did for the loss is summed all the same."""
    model, classes = network(), TaskClasses(4)
    method = SiMethod(model, classes, epsilon=0.1, strength=20.0, by_task=True)
    summed, gradients, pulled, named = {}, [], [], model.named_parameters
    begin, add = method.integral.begin, method.penalty.add_gradient

    def note_begin(model: nn.Module) -> None:
        begin(model)
        summed.update({name: torch.zeros_like(p) for name, p in model.named_parameters()})

    def note(model: nn.Module, **given: float) -> None:
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters()})
        add(model, **given)
        pulled.append(any(not torch.equal(gradients[-1][n], p.grad) for n, p in named()))

    method.integral.begin, method.penalty.add_gradient = note_begin, note
    weights = []
    after_step = method.after_step

    def note_step(model: nn.Module, batch: Batch) -> None:
        after_step(model, batch)
        weights.append({n: p.detach().clone() for n, p in model.named_parameters()})

    method.after_step = note_step
    learn(method, model)
    # In the second task alone there is a penalty, of which the first step feels nothing yet.
    assert pulled == [False, True, True, True, True]
    for step, gradient in enumerate(gradients):
        for name in summed:
            summed[name] -= gradient[name] * (weights[5 + step][name] - weights[4 + step][name])
    for name, value in summed.items():
        torch.testing.assert_close(method.integral.path[name], value, rtol=1e-5, atol=1e-9)


def test_memory_is_predicted_in_the_midst_of_a_step_too() -> None:
    """All tensors of the method are buffers, which the prediction knows of."""
    model = network()
    method = SiMethod(model, TaskClasses(4), epsilon=0.1, strength=1.0, by_task=False)
    batch = batch_of((0, 1), seed=0)
    method.loss(model, batch).total.backward()
    method.after_backward(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = predict_peak(model, method, optimizer, batch, 8)
    assert found.peak is not None and found.peak > 0


def test_online_ewc_holds_around_the_newest_weights() -> None:
    model = network()
    method = EwcMethod(
        model, TaskClasses(4), decay=0.5, labels="expected", strength=1.0, by_task=True
    )
    learn(method, model)
    for name, parameter in model.named_parameters():
        assert torch.equal(method.penalty.centre[name], parameter)
    assert method.penalty(model).item() == 0.0


@pytest.mark.parametrize("members", [None, 3])
def test_all_take_networks_and_ensembles(members: int | None) -> None:
    class Members(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Linear(3, 6), nn.BatchNorm1d(6)
            self.heads = nn.Parameter(torch.randn(members or 1, 6, 4))

        def forward(self, inputs: Tensor) -> Tensor:
            logits = torch.einsum("bf,mfk->bmk", self.norm(self.first(inputs)), self.heads)
            return logits if members else logits[:, 0]

    torch.manual_seed(0)
    for make in (
        lambda m, c: EwcMethod(m, c, decay=None, labels="sampled", strength=1.0, by_task=True),
        lambda m, c: SiMethod(m, c, epsilon=0.1, strength=1.0, by_task=True),
        lambda m, c: MasMethod(m, c, strength=1.0, by_task=True),
    ):
        model = Members()
        method = make(model, TaskClasses(4))
        learn(method, model)
        weights = list(method.penalty.weight.buffers())
        assert all(w.isfinite().all() and w.min() >= 0 for w in weights)
        assert all(w.max() > 0 for w in weights if w.shape != (6,))


@pytest.mark.parametrize(
    ("name", "scenario", "strength"),
    [
        ("ewc", "task", 1e5),
        ("ewc", "domain", 1e10),
        ("ewc", "class", 1e9),
        ("si", "task", 10.0),
        ("si", "domain", 5e4),
        ("si", "class", 5e3),
    ],
)
def test_strength_is_what_was_published_for_the_scenario(
    name: str, scenario: str, strength: float
) -> None:
    settled, parts = built(name, scenario=scenario, backbone="mlp")
    assert settled.strength == strength
    assert parts.method.strength == strength * (2 if name == "si" else 1)
    assert built(name, scenario=scenario, strength=3.0)[0].strength == 3.0


@every_method
def test_under_sgd_no_pull_overshoots(name: str) -> None:
    settled, parts = built(name, backbone="auto")
    assert parts.method.steepest == pytest.approx(1 / settled.lr)
    assert built(name, backbone="mlp")[1].method.steepest == float("inf")


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("ewc", {"strength": -1.0}, "strength=-1.0; it has to be a number of 0 or more"),
        ("si", {"strength": float("inf")}, "strength=inf"),
        ("mas", {"strength": float("nan")}, "strength=nan"),
        ("si", {"epsilon": 0.0}, "epsilon=0.0; it has to be a number above 0"),
        ("ewc", {"online": True, "gamma": 1.5}, "gamma=1.5; it has to be a factor from 0 to 1"),
        ("ewc", {"gamma": 0.5}, "gamma=0.5; it has to be 1 with online=False"),
        ("ewc", {"boundaries": False}, "boundaries"),
        ("si", {"boundaries": False}, "boundaries"),
        ("mas", {"boundaries": False}, "boundaries"),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, fields: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        get(f"continual-cls/{name}", **fields)
