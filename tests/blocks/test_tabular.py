"""The tabular network: an ensemble inside, for numbers and categories in any order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mlexpert.blocks.backbones.tabular import TabularEnsemble
from mlexpert.blocks.losses.cross_entropy import cross_entropy

COLUMNS: list[list[float] | int] = [
    np.linspace(-2.0, 2.0, 11).tolist(),
    5,
    [0.0] * 6 + [1.0, 2.0, 3.0, 4.0, 50.0],
    3,
]


def build(columns: list[list[float] | int] = COLUMNS, **sizes: int) -> TabularEnsemble:
    torch.manual_seed(0)
    sizes = {"num_members": 4, "width": 16, **sizes}
    return TabularEnsemble(columns, 3, **sizes)


def rows(count: int = 32) -> Tensor:
    torch.manual_seed(1)
    numbers = torch.randn(count, 2)
    codes = torch.stack([torch.randint(0, 5, (count,)), torch.randint(0, 3, (count,))], dim=1)
    return torch.stack([numbers[:, 0], codes[:, 0], numbers[:, 1].relu(), codes[:, 1]], dim=1)


def test_training_gives_members_that_differ_and_evaluation_their_mean():
    model = build(dropout=0)
    logits = model.train()(rows())
    assert logits.shape == (32, 4, 3)
    for first in range(4):
        for second in range(first):
            assert (logits[:, first] - logits[:, second]).abs().max() > 1e-2
    expected = logits.softmax(dim=2).mean(dim=1)
    output = model.eval()(rows())
    assert output.shape == (32, 3)
    torch.testing.assert_close(output.exp(), expected)


def test_it_learns_an_interaction_and_its_members_stay_different():
    model = build(width=32).train()
    inputs = rows(400)
    # The sign of a number, flipped by a category: neither says anything by itself.
    targets = ((inputs[:, 0] > 0) ^ (inputs[:, 1] > 2)).long()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).mean().backward()
        optimizer.step()
    with torch.no_grad():
        members = model(inputs[:100]).softmax(dim=2)
        accuracy = (model.eval()(inputs).argmax(dim=1) == targets).float().mean()
    assert accuracy > 0.95
    assert members.std(dim=1).mean() > 1e-3


def test_every_parameter_gets_a_gradient():
    model = build().train()
    inputs = rows(256)
    inputs[0, 0] = torch.nan
    cross_entropy(model(inputs), torch.arange(256) % 3).mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_dropout_ends_with_training():
    model, inputs = build(dropout=0.5), rows()
    with torch.no_grad():
        assert not torch.equal(model.train()(inputs), model(inputs))
        assert torch.equal(model.eval()(inputs), model(inputs))


def as_written(model: TabularEnsemble, inputs: Tensor) -> Tensor:
    """The members one by one, as in the paper: factors on the features, then plain layers."""
    features = model._features(inputs)
    outputs = []
    for member, scale in enumerate(model.members.scale):
        hidden = features * scale
        for layer in model.hidden:
            hidden = layer(hidden).relu()
        outputs.append(hidden @ model.heads.weight[member] + model.heads.bias[member])
    return torch.stack(outputs, dim=1)


def test_outputs_and_gradients_are_those_of_members_run_one_by_one():
    model = build(dropout=0, depth=3).train()
    outputs, expected = model(rows()), as_written(model, rows())
    torch.testing.assert_close(outputs, expected)
    parameters, targets = list(model.parameters()), torch.arange(32) % 3
    losses = [cross_entropy(found, targets).mean() for found in (outputs, expected)]
    ours, theirs = (torch.autograd.grad(loss, parameters) for loss in losses)
    torch.testing.assert_close(ours, theirs)


def test_missing_unseen_and_absurd_values_give_finite_outputs():
    model = build().eval()
    nan, inf = torch.nan, torch.inf
    odd = torch.tensor([[nan, nan, nan, nan], [inf, 99, -inf, 1], [1e38, -4, -1e38, 0]])
    output = model(odd)
    assert output.isfinite().all()
    torch.testing.assert_close(output.exp().sum(dim=1), torch.ones(3))


@pytest.mark.parametrize("columns", [COLUMNS[::2], COLUMNS[1::2], [[2.0] * 11], [[2.0] * 11, 2]])
def test_numbers_only_categories_only_and_constants_work(columns: list[list[float] | int]):
    model = build(columns).train()
    inputs = torch.zeros(7, len(columns))
    assert model(inputs).shape == (7, 4, 3)
    assert model(inputs).isfinite().all()


def test_the_order_of_rows_and_the_size_of_the_batch_change_nothing():
    model = build().eval()
    inputs = rows()
    whole = model(inputs)
    torch.testing.assert_close(model(inputs.flip(0)).flip(0), whole)
    torch.testing.assert_close(torch.cat([model(row) for row in inputs.split(5)]), whole)
    assert model(inputs[:0]).shape == (0, 3)


def test_the_preprocessing_travels_in_the_state_dict():
    model = build().eval()
    shifted: list[list[float] | int] = [
        column if isinstance(column, int) else [value * 3 + 1 for value in column]
        for column in COLUMNS
    ]
    other = build(shifted).eval()
    assert not torch.allclose(other(rows()), model(rows()))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(rows()), model(rows()))


def test_bfloat16_autocast_agrees_with_float32():
    model = build().train()
    exact = build().eval()(rows())
    with torch.autocast("cpu", torch.bfloat16):
        loss = cross_entropy(model(rows()), torch.arange(32) % 3).mean()
        rounded = model.eval()(rows())
    loss.backward()
    assert loss.dtype == torch.float32
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, atol=0.05, rtol=0.05)


def test_a_table_without_columns_is_refused():
    with pytest.raises(ValueError, match="at least one column"):
        build([])
