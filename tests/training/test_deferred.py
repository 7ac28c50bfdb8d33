"""Weights that begin late: when, what they are then, and that a checkpoint knows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.training.method import Batch, Task
from mlexpert.training.methods.deferred import Deferred

WEIGHT = torch.tensor([0.5, 3.0])


def batch(rows: int = 4, weights: torch.Tensor | None = None) -> Batch:
    torch.manual_seed(rows)
    return Batch(torch.randn(rows, 2), torch.arange(rows) % 2, torch.arange(rows), weights)


def mean(method: Deferred, rows: Batch) -> float:
    loss = method.loss(nn.Identity(), rows)
    return float(loss.total / loss.count)


def test_weights_begin_after_the_rows_that_were_asked_for() -> None:
    method, rows = Deferred(cross_entropy, class_weight=WEIGHT, start=8), batch()
    losses = cross_entropy(rows.inputs, rows.targets)
    late = float((losses * WEIGHT[rows.targets]).mean())
    for expected in [float(losses.mean())] * 2 + [late] * 2:
        assert mean(method, rows) == pytest.approx(expected)
        assert mean(method, rows) == pytest.approx(expected)  # a look at the loss is no step
        method.after_step(nn.Identity(), rows)
    shares = Batch(rows.inputs, torch.eye(2)[rows.targets], rows.index)
    assert mean(method, shares) == pytest.approx(late)


def test_weights_of_rows_and_of_classes_multiply() -> None:
    method = Deferred(cross_entropy, class_weight=WEIGHT, start=0)
    rows = batch(weights=torch.tensor([1.0, 2.0, 0.0, 4.0]))
    losses = cross_entropy(rows.inputs, rows.targets) * WEIGHT[rows.targets]
    assert mean(method, rows) == pytest.approx(float((losses * rows.weights).sum() / 7))


def test_the_count_is_in_the_state_and_a_task_begins_at_none() -> None:
    method = Deferred(cross_entropy, class_weight=WEIGHT, start=8)
    method.after_step(nn.Identity(), batch(8))
    again = Deferred(cross_entropy, class_weight=WEIGHT, start=8)
    again.load_state_dict(method.state_dict())
    assert mean(again, batch()) == mean(method, batch())
    again.begin_task(nn.Identity(), Task(0, torch.tensor([4, 4])))
    assert int(again.rows_seen) == 0 and mean(again, batch()) != mean(method, batch())
