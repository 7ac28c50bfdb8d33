from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mlexpert.blocks.importance.memory_aware import memory_aware
from mlexpert.blocks.layers.task_classes import TaskClasses


class Members(nn.Module):
    """Three members on shared features."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.heads = nn.Linear(4, 6), nn.Parameter(torch.randn(3, 6, 5))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.einsum("bf,mfk->bmk", self.first(inputs).tanh(), self.heads)


def one_network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5))


@pytest.mark.parametrize("make", [one_network, Members])
@pytest.mark.parametrize("size", [1, 4, 7])
def test_is_the_mean_of_every_rows_own_absolute_gradient(make, size: int) -> None:
    torch.manual_seed(0)
    model, inputs, targets = make().eval(), torch.randn(7, 4), torch.tensor([0, 2] * 3 + [0])
    classes = TaskClasses(5)
    classes.see(torch.tensor([0, 2]), 0)
    batches = zip(inputs.split(size), targets.split(size), strict=True)
    found = memory_aware(model, batches, mask=lambda logits, _: classes.of_seen(logits))
    named = dict(model.named_parameters())
    expected = {name: torch.zeros_like(value) for name, value in named.items()}
    for row in inputs:
        logits = model(row[None])[..., [0, 2]]
        length = logits.square().sum(-1).mean()
        for name, grad in zip(
            named, torch.autograd.grad(length, list(named.values())), strict=True
        ):
            expected[name] += grad.abs() / 7
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7)


def test_rows_do_not_cancel() -> None:
    """The gradients of a row and of its mirror image have a sum of 0, and count both."""
    model = nn.Linear(1, 1).eval()
    model.load_state_dict({"weight": torch.tensor([[2.0]]), "bias": torch.tensor([0.0])})
    rows = [(torch.tensor([[1.0], [-1.0]]), torch.zeros(2))]
    found = memory_aware(model, rows, mask=lambda logits, _: logits)
    assert found["bias"].item() == 4.0 and found["weight"].item() == 4.0
