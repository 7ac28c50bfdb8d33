from __future__ import annotations

import copy
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mlexpert.environment import processor_has_bf16
from mlexpert.training.memory.predict import LiveBytes, predict_peak
from mlexpert.training.memory.rehearse import rehearse, two_pieces
from mlexpert.training.method import Batch, Loss
from mlexpert.training.pieces import pieces
from tests.training.memory.small_models import (
    CrossEntropy,
    Lstm,
    convolutional,
    images,
    mlp,
    rows,
    texts,
)

BF16 = partial(torch.autocast, "cpu", torch.bfloat16)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("autocast", [nullcontext, BF16])
@pytest.mark.parametrize("size", [16, 64])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize(("model", "batch"), [(mlp, rows), (convolutional, images), (Lstm, texts)])
def test_a_fake_run_counts_what_a_real_one_makes(model, batch, optimizer, size, autocast) -> None:
    if model is Lstm and autocast is BF16 and not processor_has_bf16():
        pytest.skip("torch has no LSTM in bf16 on this processor")
    model, batch, method = model(), batch(64), CrossEntropy()
    optimizer = optimizer(model.parameters(), 1e-3)
    predicted = predict_peak(model, method, optimizer, batch, size, autocast=autocast)
    known = [*model.parameters(), *model.buffers(), batch.inputs, batch.targets, batch.index]
    with LiveBytes(known, 64) as live:
        rehearse(model, method, optimizer, batch, size, autocast=autocast)
    # An LSTM's workspace is known to some per cent, the rest to a byte.
    tolerance = 0.2 if isinstance(model, Lstm) else 0
    assert predicted.peak == pytest.approx(live.peak, rel=tolerance)
    assert predicted.floor == live.now


def test_the_floor_is_gradients_and_state() -> None:
    model = nn.Linear(1000, 100, bias=False)
    batch = Batch(torch.rand(2, 1000), torch.tensor([0, 1]), torch.arange(2))
    predicted = predict_peak(model, CrossEntropy(), torch.optim.AdamW(model.parameters()), batch, 2)
    weights = model.weight.nbytes
    assert predicted.floor == 3 * weights + 64  # gradient, two moments, a counter
    assert 3 * weights < predicted.peak < 6 * weights


def test_nothing_is_changed() -> None:
    model, method, batch = convolutional(), CrossEntropy(), images(8)
    optimizer = torch.optim.AdamW(model.parameters())
    before, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    predict_peak(model, method, optimizer, batch, 4)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(rng, torch.get_rng_state())
    assert not optimizer.state and all(p.grad is None for p in model.parameters())


def test_nothing_is_allocated() -> None:
    model = mlp()
    huge = torch.empty(1, 784).expand(10**9, 784)
    batch = Batch(
        huge, torch.zeros(1, dtype=torch.long).expand(10**9), torch.zeros(1).expand(10**9)
    )
    predicted = predict_peak(
        model, CrossEntropy(), torch.optim.SGD(model.parameters()), batch, 10**9
    )
    assert predicted.peak > 10**12


def test_recomputed_activations_are_not_kept() -> None:
    class Recomputed(nn.Sequential):
        def forward(self, inputs):
            for layer in self:
                inputs = checkpoint(layer, inputs, use_reentrant=False)
            return inputs

    def blocks():
        return [nn.Sequential(*[nn.Tanh() for _ in range(10)]) for _ in range(4)]

    batch = rows(64)
    peaks = []
    for kind in (nn.Sequential, Recomputed):
        model = kind(nn.Linear(784, 784), *blocks())
        optimizer = torch.optim.SGD(model.parameters())
        peaks.append(predict_peak(model, CrossEntropy(), optimizer, batch, 64).peak)
    assert peaks[1] < 0.6 * peaks[0]


def test_what_looks_at_numbers_has_no_prediction() -> None:
    class Picky(CrossEntropy):
        def loss(self, model, batch) -> Loss:
            chosen = batch.inputs[batch.inputs.sum(1) > 1]
            assert chosen.sum().item() >= 0
            return super().loss(model, batch)

    model = mlp()
    predicted = predict_peak(model, Picky(), torch.optim.SGD(model.parameters()), rows(4), 4)
    assert predicted.peak is None and "DynamicOutputShape" in predicted.reason


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64])
def test_the_two_pieces_are_the_smallest_and_the_largest(count: int) -> None:
    batch = rows(count)
    for size in range(1, count + 1):
        cut = pieces(batch, size)
        expected = [cut[-1], cut[0]] if len(cut) > 1 else cut
        for ours, theirs in zip(two_pieces(batch, size), expected, strict=True):
            assert torch.equal(ours.inputs, theirs.inputs)
            assert torch.equal(ours.index, theirs.index)
    assert len(two_pieces(batch, 10**6)) == 1


def test_tokens_are_budgeted() -> None:
    assert len(two_pieces(texts(64, 32), 4, width=256)[0]) == 32
