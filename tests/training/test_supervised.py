"""The method that most recipes use: weights, augmentation, and what travels with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.augment.flip_crop import random_crop, random_flip
from mlexpert.blocks.losses.cross_entropy import ClassWeighted, cross_entropy
from mlexpert.blocks.losses.squared_error import squared_error
from mlexpert.blocks.schedules import constant
from mlexpert.data.batches import TensorStore
from mlexpert.training.method import Batch, Task
from mlexpert.training.methods.cross_entropy import CrossEntropy
from mlexpert.training.methods.supervised import Supervised
from mlexpert.training.plan import Data, Plan, Stage, Stretch
from mlexpert.training.precision import Engine
from mlexpert.training.tracking import RunFolder
from mlexpert.training.trainer import Trainer


def batch(weights: Tensor | None = None) -> Batch:
    torch.manual_seed(0)
    return Batch(torch.randn(12, 5), torch.randint(3, (12,)), torch.arange(12), weights)


def test_loss_is_the_weighted_sum_over_the_sum_of_weights() -> None:
    model, weights = nn.Linear(5, 3), torch.rand(12)
    plain, weighted = batch(), batch(weights)
    losses = F.cross_entropy(model(plain.inputs), plain.targets, reduction="none")
    method = Supervised(cross_entropy)
    found = method.loss(model, plain)
    torch.testing.assert_close(found.total, losses.sum())
    assert found.count == 12
    found = method.loss(model, weighted)
    torch.testing.assert_close(found.total / found.count, weights @ losses / weights.sum())
    assert method.draw(model, plain) is plain


def test_rows_of_weight_zero_move_nothing() -> None:
    model, weights = nn.Linear(5, 1), (torch.arange(12) < 7).float()
    numbers = replace(batch(weights), targets=torch.randn(12))
    few = Batch(numbers.inputs[:7], numbers.targets[:7], numbers.index[:7])
    gradients = []
    for rows in (numbers, few):
        loss = Supervised(squared_error).loss(model, rows)
        gradients.append(torch.autograd.grad(loss.total / loss.count, model.weight)[0])
    torch.testing.assert_close(*gradients)


def test_augmentation_sees_the_whole_batch() -> None:
    method = Supervised(cross_entropy, augment=lambda b: replace(b, inputs=b.inputs + 1))
    assert torch.equal(method.draw(nn.Identity(), batch()).inputs, batch().inputs + 1)


@pytest.mark.parametrize(("shift", "flip"), [(2, True), (2, False), (0, True), (0, False)])
def test_images_move_by_the_same_draws_in_the_same_order(shift: int, flip: bool) -> None:
    images = replace(batch(), inputs=torch.rand(12, 3, 8, 8))
    torch.manual_seed(4)
    found = CrossEntropy(shift=shift, flip=flip).draw(nn.Identity(), images)
    torch.manual_seed(4)
    expected = random_crop(images.inputs, shift, torch.default_generator)
    if flip:
        expected = random_flip(expected, torch.default_generator)
    assert torch.equal(found.inputs, expected)


def test_class_weights_follow_the_method_to_its_device() -> None:
    method = Supervised(ClassWeighted(torch.tensor([1.0, 2.0, 0.5])))
    assert method.to("meta").state_dict()["loss_of.class_weight"].device.type == "meta"


@pytest.mark.parametrize("size", [4, 100])
def test_class_weights_have_the_same_optimum_whatever_the_batch_size(size: int) -> None:
    # A model that knows the classes' shares alone, where it is best: both weigh the same. A loss
    # divided by the weights of each batch would pull on, towards the class that most batches hold.
    targets = (torch.arange(100) >= 90).long()[torch.randperm(100)]
    method = Supervised(ClassWeighted(torch.tensor([100 / 180, 100 / 20])))
    model = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(model.weight)
    ones = torch.ones(size, 1)
    pull = torch.zeros(2, 1)
    for rows in torch.arange(100).split(size):
        loss = method.loss(model, Batch(ones, targets[rows], rows))
        pull += torch.autograd.grad(loss.total / loss.count, model.weight)[0]
    torch.testing.assert_close(pull, torch.zeros(2, 1), atol=1e-5, rtol=0)


def test_the_trainer_scores_validation_by_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    inputs, targets, weights = torch.randn(20, 2), torch.randint(2, (20,)), torch.rand(20)
    seen: list[Tensor | None] = []

    def evaluate(logits: Tensor, targets: Tensor, weights: Tensor | None) -> dict[str, float]:
        seen.append(weights)
        return {"log_loss": 1.0}

    model = nn.Linear(2, 2)
    for given in (weights, None):
        data = Data(TensorStore(inputs), targets, given)
        stage = Stage(1, torch.optim.SGD(model.parameters(), lr=0.1), constant())
        Trainer(
            model,
            Supervised(cross_entropy),
            [Stretch(Task(0, torch.tensor([10, 10])), data, data, evaluate, stage)],
            Plan(seed=0, batch_size=10, show_progress=False),
            Engine("fp32"),
            RunFolder(tmp_path / str(given is None), {}),
        ).run()
    assert seen[0] is not None and torch.equal(seen[0], weights)
    assert seen[1] is None
