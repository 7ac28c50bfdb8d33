"""The losses of methods that replay, against their equations on tensors of a few rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.layers.task_classes import TaskClasses
from mlexpert.blocks.losses.former_logits import former_logits_error
from mlexpert.blocks.replay.class_balanced_buffer import ClassBalancedBuffer
from mlexpert.blocks.replay.reservoir import Reservoir
from mlexpert.recipes.continual_cls.a_gem import AGemMethod, project
from mlexpert.recipes.continual_cls.dark_experience import AsymmetricDer
from mlexpert.recipes.continual_cls.der_plus_plus import DerMethod
from mlexpert.recipes.continual_cls.er import ErMethod
from mlexpert.recipes.continual_cls.er_ace import ErAceMethod
from mlexpert.recipes.continual_cls.gdumb import GDumbMethod
from mlexpert.training.method import Batch, Task
from mlexpert.training.methods.replay import Replay, Replaying

K = 6


class Members(nn.Module):
    """A linear layer for each of M members: logits (B, M, K); of one member (B, K)."""

    def __init__(self, members: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(members, K, 3) / 2)

    def forward(self, inputs: Tensor) -> Tensor:
        logits = torch.einsum("bd,mkd->bmk", inputs, self.weight)
        return logits.squeeze(1) if len(self.weight) == 1 else logits


def rows(targets: list[int], first: int = 0, weights: Tensor | None = None) -> Batch:
    index = torch.arange(first, first + len(targets))
    generator = torch.Generator().manual_seed(first)
    inputs = torch.randn(len(targets), 3, generator=generator)
    return Batch(inputs, torch.tensor(targets), index, weights)


def task(number: int, batch: Batch) -> Task:
    counts = torch.bincount(batch.targets, minlength=K)
    return Task(number, counts, lambda: iter([batch]))


MAKE: dict[str, Callable[[TaskClasses, Replaying], Replay]] = {
    "er": lambda classes, how: ErMethod(classes, Reservoir(20), how),
    "der": lambda classes, how: DerMethod(classes, Reservoir(20), how, alpha=0.3, beta=0.7),
    "ace": lambda classes, how: ErAceMethod(classes, Reservoir(20), how),
    "dark": lambda classes, how: AsymmetricDer(classes, Reservoir(20), how, alpha=0.3, beta=0.7),
}


def after_one_task(
    name: str, members: int = 1, *, weighted: bool = False, how: Replaying | None = None
) -> tuple[Replay, nn.Module, Batch]:
    """Return a method with rows 0 to 7 of classes 0 and 1 in memory, and a batch of task 1."""
    torch.manual_seed(0)
    model = Members(members)
    method = MAKE[name](TaskClasses(K), how or Replaying(size=5))
    weights = torch.linspace(0.5, 2, 8) if weighted else None
    first = rows([0, 1, 0, 1, 0, 1, 0, 1], weights=weights)
    method.begin_task(model, task(0, first))
    drawn = method.draw(model, first)
    method.loss(model, drawn)
    method.after_step(model, drawn)
    second = rows([2, 3, 3, 2], 100, torch.tensor([1.0, 2.0, 3.0, 0.5]) if weighted else None)
    method.begin_task(model, task(1, second))
    return method, model, second


def over(logits: Tensor, classes: list[int], targets: Tensor) -> Tensor:
    """Cross-entropy over some classes alone, of members their mean."""
    places = torch.tensor([classes.index(int(target)) for target in targets])
    each = [
        F.cross_entropy(one[:, classes], places, reduction="none")
        for one in (logits.unbind(1) if logits.ndim == 3 else [logits])
    ]
    return torch.stack(each).mean(dim=0)


@pytest.mark.parametrize("members", [1, 3])
def test_er_weighs_all_tasks_alike_over_the_classes_met(members: int) -> None:
    method, model, second = after_one_task("er", members)
    for number, share in ((1, 1 / 2), (3, 3 / 4)):
        method.number = number
        drawn = method.draw(model, second)
        loss = method.loss(model, drawn)
        losses = over(model(drawn.inputs), [0, 1, 2, 3], drawn.targets)
        expected = (1 - share) * losses[:4].mean() + share * losses[4:].mean()
        torch.testing.assert_close(loss.total / loss.count, expected)
        assert len(drawn) == 9 and torch.equal(drawn.inputs[:4], second.inputs)
        kept = rows([0, 1] * 4)
        slots = -1 - drawn.index[4:]
        assert torch.equal(drawn.inputs[4:], kept.inputs[slots])


def test_er_draws_nothing_in_the_first_task_unless_a_share_is_given() -> None:
    torch.manual_seed(0)
    model, first = Members(1), rows([0, 1, 1])
    for share, count in ((None, 3), (0.25, 6)):
        method = ErMethod(TaskClasses(K), Reservoir(9), Replaying(), share=share)
        method.begin_task(model, task(0, first))
        once = method.draw(model, first)  # there is nothing to draw yet
        loss = method.loss(model, once)
        expected = over(model(first.inputs), [0, 1], first.targets).mean()
        torch.testing.assert_close(loss.total / loss.count, expected)
        method.after_step(model, once)
        assert len(method.draw(model, first)) == count


def test_with_the_task_told_a_row_has_the_classes_of_its_task() -> None:
    method, model, second = after_one_task("er", how=Replaying(by_task=True, size=5))
    drawn = method.draw(model, second)
    loss = method.loss(model, drawn)
    logits = model(drawn.inputs)
    came = over(logits[:4], [2, 3], drawn.targets[:4]).mean()
    replayed = over(logits[4:], [0, 1], drawn.targets[4:]).mean()
    torch.testing.assert_close(loss.total / loss.count, (came + replayed) / 2)


@pytest.mark.parametrize("members", [1, 3])
def test_er_ace_is_asymmetric(members: int) -> None:
    method, model, second = after_one_task("ace", members)
    drawn = method.draw(model, second)
    loss = method.loss(model, drawn)
    logits = model(drawn.inputs)
    came = over(logits[:4], [2, 3], drawn.targets[:4]).mean()
    replayed = over(logits[4:], [0, 1, 2, 3], drawn.targets[4:]).mean()
    torch.testing.assert_close(loss.total / loss.count, came + replayed)
    loss.total.backward()
    weight = next(model.parameters())
    assert weight.grad is not None and (weight.grad[:, 4:] == 0).all()  # classes to come


@pytest.mark.parametrize("members", [1, 3])
def test_der_holds_rows_to_what_was_said_when_they_were_trained_on(members: int) -> None:
    method, model, second = after_one_task("der", members)
    with torch.no_grad():
        then = model(rows([0, 1] * 4).inputs)
        model.weight.mul_(0.5)  # what is kept is of the step, not of now
    drawn = method.draw(model, second)
    assert len(drawn) == 4 + 5 + 5
    loss = method.loss(model, drawn)
    logits = model(drawn.inputs)
    slots = -1 - drawn.index[4:9]
    squared = (logits[4:9] - then[slots]).square().flatten(1).mean(dim=1).mean()
    losses = over(logits, [0, 1, 2, 3], drawn.targets)
    expected = losses[:4].mean() + 0.3 * squared + 0.7 * losses[9:].mean()
    torch.testing.assert_close(loss.total / loss.count, expected)
    again = -1 - 20 - drawn.index[9:]  # the second draw's slots
    assert int(again.min()) >= 0 and int(again.max()) < 8
    assert torch.equal(drawn.targets[9:], again % 2)
    method.after_step(model, drawn)
    torch.testing.assert_close(method.memory.logits[8:12], logits[:4].detach())
    assert torch.equal(method.memory.logits[:8], then)


@pytest.mark.parametrize("name", ["ace", "dark"])
def test_a_class_that_comes_alone_is_learned_among_all(name: str) -> None:
    method, model, _ = after_one_task(name)
    drawn = method.draw(model, rows([2, 2, 2], 100))
    loss = method.loss(model, drawn)
    logits = model(drawn.inputs)
    came = over(logits[:3], [0, 1, 2], drawn.targets[:3]).mean()
    losses = over(logits, [0, 1, 2], drawn.targets)
    expected = came + losses[3:].mean()
    if name == "dark":
        assert isinstance(method.memory, Reservoir)
        former = method.memory.logits[-1 - drawn.index[3:8]]
        squared = (logits[3:8] - former).square().mean(dim=1).mean()
        expected = came + 0.3 * squared + 0.7 * losses[8:].mean()
    torch.testing.assert_close(loss.total / loss.count, expected)


@pytest.mark.parametrize("members", [1, 3])
def test_the_default_is_der_whose_new_rows_are_told_apart_among_themselves(members: int) -> None:
    method, model, second = after_one_task("dark", members)
    drawn = method.draw(model, second)
    loss = method.loss(model, drawn)
    logits, slots = model(drawn.inputs), -1 - drawn.index[4:9]
    assert isinstance(method.memory, Reservoir)
    squared = (logits[4:9] - method.memory.logits[slots]).square().flatten(1).mean(dim=1).mean()
    came = over(logits[:4], [2, 3], drawn.targets[:4]).mean()
    replayed = over(logits[9:], [0, 1, 2, 3], drawn.targets[9:]).mean()
    torch.testing.assert_close(loss.total / loss.count, came + 0.3 * squared + 0.7 * replayed)


def test_the_squared_error_is_over_the_outputs_of_then() -> None:
    logits, former = torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[0.0, 0.0]])
    assert former_logits_error(logits, former).tolist() == [2.5]
    assert former_logits_error(logits, torch.tensor([[0.0, -1e4, -1e4]])).tolist() == [1.0]
    members = torch.stack([logits, logits * 0], dim=1)
    assert former_logits_error(members, former.unsqueeze(1).expand(-1, 2, -1)).tolist() == [1.25]


@pytest.mark.parametrize("name", list(MAKE))
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cuts", [(4,), (2, 3), (1, 1, 1, 1, 1, 1, 1, 1), (4, 5)])
def test_pieces_add_up_to_the_whole_batch(name: str, weighted: bool, cuts: tuple[int, ...]) -> None:
    """Gradients and kept logits, also where a piece has no row that came, or nothing else."""
    method, model, second = after_one_task(name, weighted=weighted)
    drawn = method.draw(model, second)
    found = []
    for sizes in ([len(drawn)], [*cuts, len(drawn) - sum(cuts)]):
        parts = [column.split(sizes) for column in (drawn.inputs, drawn.targets, drawn.index)]
        weights = [None] * len(sizes) if drawn.weights is None else drawn.weights.split(sizes)
        pieces = [Batch(*columns) for columns in zip(*parts, weights, strict=True)]
        model.zero_grad()
        count = 0.0
        for piece in pieces:
            loss = method.loss(model, piece)
            loss.total.backward()
            count = count + float(loss.count)
        found.append(model.weight.grad / count)
        assert count == pytest.approx(6.5 if weighted else 4)
    torch.testing.assert_close(found[0], found[1])
    if name in ("der", "dark"):
        torch.testing.assert_close(method.noted(), model(second.inputs).detach())


def test_weights_count_within_the_rows_that_come_and_within_the_draw() -> None:
    method, model, second = after_one_task("er", weighted=True)
    drawn = method.draw(model, second)
    loss = method.loss(model, drawn)
    losses, w = over(model(drawn.inputs), [0, 1, 2, 3], drawn.targets), drawn.weights
    assert w is not None and torch.equal(w[4:], torch.linspace(0.5, 2, 8)[-1 - drawn.index[4:]])
    means = [(losses[s] * w[s]).sum() / w[s].sum() for s in (slice(4), slice(4, None))]
    torch.testing.assert_close(loss.total / loss.count, sum(means) / 2)


def test_rows_are_kept_as_they_came_and_augmented_anew_when_drawn() -> None:
    how = Replaying(augment=lambda batch: replace(batch, inputs=batch.inputs + 10), size=5)
    method, model, second = after_one_task("er", how=how)
    drawn = method.draw(model, second)
    slots = -1 - drawn.index[4:]
    torch.testing.assert_close(drawn.inputs[4:], rows([0, 1] * 4).inputs[slots] + 10)
    torch.testing.assert_close(drawn.inputs[:4], second.inputs + 10)


def test_texts_of_two_lengths_are_joined() -> None:
    method = ErMethod(TaskClasses(K), Reservoir(9), Replaying(size=2), share=0.5)
    model = nn.Identity()
    for tokens in ([[1, 2], [3, 0]], [[4, 5, 6], [7, 8, 0]], [[9]]):
        batch = Batch(
            torch.tensor(tokens), torch.zeros(len(tokens)).long(), torch.arange(len(tokens))
        )
        drawn = method.draw(model, batch)
        method.after_step(model, batch)
    assert drawn.inputs.dtype == torch.int64 and drawn.inputs[0, 0] == 9
    assert (drawn.inputs[0, 1:] == 0).all() and len(drawn) == 3


def a_gem(boundaries: bool = True) -> tuple[AGemMethod, Members, Batch, Batch]:
    torch.manual_seed(0)
    model = Members(1)
    method = AGemMethod(TaskClasses(K), Reservoir(20), Replaying(), boundaries=boundaries)
    first, second = rows([0, 1] * 4), rows([2, 3, 2, 3], 100)
    method.begin_task(model, task(0, first))
    drawn = method.draw(model, first)
    method.after_step(model, drawn)
    return method, model, first, second


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_gem_takes_out_what_points_against_the_memory_and_nothing_else(sign: float) -> None:
    method, model, first, second = a_gem()
    assert len(method.memory) == 0  # rows of earlier tasks alone
    method.after_backward(model)  # and so nothing to project on
    method.end_task(model, task(0, first))
    assert len(method.memory) == 8
    method.begin_task(model, task(1, second))
    drawn = method.draw(model, second)
    assert torch.equal(drawn.inputs, second.inputs)  # no row of the memory is trained on
    method.size = 8  # all of it
    losses = over(model(first.inputs), [0, 1, 2, 3], first.targets)
    reference = torch.autograd.grad(losses.mean(), model.weight)[0]
    noise = torch.randn_like(reference)
    gradient = sign * reference + 0.1 * noise
    model.weight.grad = gradient.clone()
    method.after_backward(model)
    along = (gradient * reference).sum()
    expected = gradient - along / reference.square().sum() * reference if sign < 0 else gradient
    torch.testing.assert_close(model.weight.grad, expected)
    if sign < 0:
        assert abs(float((model.weight.grad * reference).sum())) < 1e-5
    else:
        assert torch.equal(model.weight.grad, gradient)


def test_a_projection_spans_all_parameters() -> None:
    """Against the formula on one long vector."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((3, 2), (5,), ())
    g, r = ([torch.randn(size, generator=generator) for size in sizes] for _ in range(2))
    g = [-a + 0.2 * b for a, b in zip(r, g, strict=True)]
    one, other = (torch.cat([x.flatten() for x in xs]) for xs in (g, r))
    expected = one - (one @ other) / (other @ other) * other
    project(g, tuple(r))
    torch.testing.assert_close(torch.cat([x.flatten() for x in g]), expected)
    zero = [torch.ones(2)]
    project(zero, (torch.zeros(2),))
    assert zero[0].tolist() == [1.0, 1.0]


def test_without_boundaries_a_gem_keeps_rows_as_they_come() -> None:
    method, model, first, _ = a_gem(boundaries=False)
    assert len(method.memory) == 8
    method.end_task(model, task(0, first))
    assert method.memory.num_seen == 8


def gdumb() -> tuple[GDumbMethod, Members]:
    torch.manual_seed(0)
    model = Members(1)
    return GDumbMethod(model, TaskClasses(K), ClassBalancedBuffer(8), Replaying()), model


def test_gdumb_begins_each_task_anew_and_keeps_its_sample() -> None:
    method, model = gdumb()
    fresh = model.weight.detach().clone()
    for number, targets in enumerate(([0, 1] * 4, [0, 1, 2, 3, 0, 1, 2, 3])):
        with torch.no_grad():
            model.weight.add_(1)
        sample = rows(targets, 10 * number)
        method.begin_task(model, task(number, sample))
        assert torch.equal(model.weight, fresh)
        drawn = method.draw(model, sample)
        assert drawn.inputs is sample.inputs  # the sample alone
        method.after_step(model, drawn)
        method.end_task(model, task(number, sample))
        kept = method.sample.draw(99)
        assert sorted(kept.inputs[:, 0].tolist()) == sorted(sample.inputs[:, 0].tolist())


def test_gdumb_learns_on_from_its_memory() -> None:
    method, model = gdumb()
    first, second = rows([0, 1] * 4), rows([2, 2, 2, 2], 50)
    method.begin_task(model, task(0, first))
    method.draw(model, first)
    method.end_task(model, task(0, first))
    method.has_all = False  # as where the earlier rows are gone
    method.begin_task(model, task(1, second))
    drawn = method.draw(model, second)
    loss = method.loss(model, drawn)
    losses = over(model(drawn.inputs), [0, 1, 2], drawn.targets)
    expected = losses[:4].mean() / 3 + losses[4:].mean() * 2 / 3
    torch.testing.assert_close(loss.total / loss.count, expected)
    method.end_task(model, task(1, second))
    counts = sorted(method.sample.counts.values())
    assert sum(counts) == 8 and counts[0] >= 2
