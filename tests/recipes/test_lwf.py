"""Learning without forgetting: who teaches what, and by how much."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.layers.task_classes import TaskClasses
from mlexpert.errors import InputError
from mlexpert.recipes import get
from mlexpert.recipes.continual_cls.lwf import LwfMethod
from mlexpert.training.method import Batch, Task


class Members(nn.Module):
    """An ensemble that answers with one voice in eval mode."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.heads = nn.Parameter(torch.randn(count, 3, 6))

    def forward(self, inputs: Tensor) -> Tensor:
        logits = torch.einsum("bi,mik->bmk", inputs, self.heads)
        return logits if self.training else logits.mean(1)


def in_the_third_task(model: nn.Module, *, by_task: bool) -> tuple[LwfMethod, Batch, nn.Module]:
    """Return a method in its third task, of classes 4 and 5, with a model that has moved on."""
    method = LwfMethod(TaskClasses(6), temperature=2.0, by_task=by_task)
    inputs = torch.randn(8, 3)
    before = model
    for number in range(3):
        method.begin_task(model, Task(number, torch.zeros(6)))
        before = type(model)(*([2] if isinstance(model, Members) else [3, 6]))
        before.load_state_dict(model.state_dict())
        targets = torch.tensor([2 * number, 2 * number + 1] * 4)
        batch = method.draw(model, Batch(inputs, targets, torch.arange(8)))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += torch.randn_like(parameter)
    return method, batch, before.eval()


def cross_entropy_of(says: Tensor, logits: Tensor) -> Tensor:
    """T^2 times the cross-entropy of softened distributions, less what no student can move."""
    p = (says / 2.0).softmax(-1)
    return 4.0 * ((p * p.log()).sum(-1) - (p * (logits / 2.0).log_softmax(-1)).sum(-1))


def test_all_earlier_classes_are_one_opinion_where_no_task_is_told() -> None:
    torch.manual_seed(0)
    method, batch, before = in_the_third_task(nn.Linear(3, 6), by_task=False)
    model = nn.Linear(3, 6)
    loss = method.loss(model, batch)
    logits, says = model(batch.inputs), before(batch.inputs)[:, :4]
    p = torch.cat([(says / 2.0).softmax(-1), torch.zeros(8, 2)], dim=1)  # new ones have no share
    entropy = (p[:, :4] * p[:, :4].log()).sum(-1)
    distilled = 4.0 * (entropy - (p * (logits / 2.0).log_softmax(-1)).sum(-1))
    expected = F.cross_entropy(logits, batch.targets, reduction="sum") / 3 + distilled.sum() * 2 / 3
    assert loss.count == 8 and loss.total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_each_earlier_task_is_an_opinion_of_its_own_where_it_is_told() -> None:
    torch.manual_seed(0)
    method, batch, before = in_the_third_task(nn.Linear(3, 6), by_task=True)
    model = nn.Linear(3, 6)
    logits, says = model(batch.inputs), before(batch.inputs)
    pairs = [(says[:, at : at + 2], logits[:, at : at + 2]) for at in (0, 2)]
    distilled = torch.stack([cross_entropy_of(*pair) for pair in pairs]).mean(0)
    own = F.cross_entropy(logits[:, 4:], batch.targets - 4, reduction="sum")
    expected = own / 3 + distilled.sum() * 2 / 3
    assert method.loss(model, batch).total.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("by_task", [False, True])
def test_every_member_is_told_what_all_said_together(by_task: bool) -> None:
    torch.manual_seed(0)
    method, batch, _ = in_the_third_task(Members(2), by_task=by_task)
    one, two = nn.Linear(3, 6, bias=False), nn.Linear(3, 6, bias=False)
    both = Members(2)
    with torch.no_grad():
        both.heads[0], both.heads[1] = one.weight.T, two.weight.T
    alone = [method.loss(single, batch).total.item() for single in (one, two)]
    assert method.loss(both, batch).total.item() == pytest.approx(sum(alone) / 2, rel=1e-5)


def test_the_first_task_is_plain_and_the_teacher_stays_as_it_was() -> None:
    torch.manual_seed(0)
    model, method = nn.Linear(3, 6), LwfMethod(TaskClasses(6), temperature=2.0, by_task=False)
    method.begin_task(model, Task(0, torch.zeros(6)))
    batch = Batch(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]), torch.arange(4))
    loss = method.loss(model, method.draw(model, batch))
    expected = F.cross_entropy(model(batch.inputs)[:, :2], batch.targets, reduction="sum")
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert not list(method.parameters())

    method.begin_task(model, Task(1, torch.zeros(6)))
    kept = {name: value.clone() for name, value in method.state_dict().items()}
    drawn = method.draw(model, Batch(batch.inputs, batch.targets + 2, batch.index))
    method.loss(model, drawn).total.backward()
    with torch.no_grad():
        model.weight += 1.0
    assert all(p.grad is None and not p.requires_grad for p in method.parameters())
    assert torch.equal(method.state_dict()["teacher.weight"], kept["teacher.weight"])
    assert method.old.tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"temperature": 0.0}, "temperature=0.0"), ({"boundaries": False}, "boundaries")],
)
def test_what_cannot_be_meant_is_refused(fields: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        get("continual-cls/lwf", **fields)
