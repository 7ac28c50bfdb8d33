from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from mlexpert.training.memory.put_back import put_back
from mlexpert.training.memory.rehearse import rehearse
from tests.training.memory.small_models import CrossEntropy, convolutional, images


class Restless(CrossEntropy):
    """Keeps state in every way that a method may."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(10))
        self.register_buffer("hidden", torch.zeros(3), persistent=False)
        self.center = torch.zeros(2)
        self.calls = 0
        self.generator = torch.Generator().manual_seed(5)
        self.weight = nn.Parameter(torch.ones(1))

    def loss(self, model, batch):
        self.calls += 1
        self.center += torch.rand(2, generator=self.generator)
        self.seen = self.seen + 1  # another tensor under the same name
        self.hidden.add_(1)
        random.random()
        np.random.rand()
        result = super().loss(model, batch)
        return type(result)(result.total * self.weight.squeeze(), result.count)


class Outer(Optimizer):
    """Wraps another optimiser, as SAM does, and keeps a number in its groups."""

    def __init__(self, parameters) -> None:
        self.inner = torch.optim.Adam(parameters, 1e-2)
        super().__init__(self.inner.param_groups, {})
        self.param_groups[0]["k"] = 0

    def step(self, closure=None):
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter]["old"] = parameter.detach().clone()
        self.param_groups[0]["k"] += 1
        self.inner.step()


def everything(model, method, optimizer):
    """All that could have changed, as plain bytes and values."""
    tensors = {
        **{f"model.{n}": t for n, t in model.state_dict().items()},
        **{f"method.{n}": t for n, t in method.state_dict().items()},
        "hidden": method.hidden,
        "center": method.center,
        "generator": method.generator.get_state(),
        "rng": torch.get_rng_state(),
    }
    numpy = np.random.get_state()
    return (
        {name: tensor.numpy().tobytes() for name, tensor in tensors.items()},
        (method.calls, model.training, random.getstate(), numpy[1].tobytes(), numpy[2]),
        copy.deepcopy(optimizer.state_dict()["param_groups"]),
        [p.grad for p in (*model.parameters(), *method.parameters())],
    )


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("make", [Outer, lambda p: SGD(p, 0.1, momentum=0.9), torch.optim.AdamW])
def test_all_is_bit_for_bit_what_it_was(make, fails: bool) -> None:
    torch.manual_seed(0)
    model, method, batch = convolutional(), Restless(), images(16)
    optimizer = make([*model.parameters(), *method.parameters()])
    before = everything(model, method, optimizer)
    seen = method.seen
    try:
        with put_back(model, method, optimizer):
            model.eval()
            model.train()
            rehearse(model, method, optimizer, batch, 8)
            assert everything(model, method, optimizer)[0] != before[0]
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert everything(model, method, optimizer) == before
    assert method.seen is seen and not optimizer.state
    if isinstance(optimizer, Outer):
        assert not optimizer.inner.state


def test_a_training_under_way_goes_on_as_if_nothing_was() -> None:
    def train(probe: bool) -> bytes:
        torch.manual_seed(0)
        model, method, batch = convolutional(), CrossEntropy(), images(16)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
        rehearse(model, method, optimizer, batch, 16)
        if probe:
            with put_back(model, method, optimizer):
                rehearse(model, method, optimizer, batch, 4)
        rehearse(model, method, optimizer, batch, 16)
        return b"".join(value.numpy().tobytes() for value in model.state_dict().values())

    assert train(probe=True) == train(probe=False)


def test_an_expanded_buffer_is_no_obstacle() -> None:
    model, method = nn.Linear(2, 2), CrossEntropy()
    model.register_buffer("positions", torch.zeros(1).expand(5))
    before = model.weight.detach().clone()
    with put_back(model, method, SGD(model.parameters(), 0.1)):
        model.weight.data.add_(1.0)
    assert torch.equal(model.weight, before)
    assert torch.equal(model.positions, torch.zeros(5))
