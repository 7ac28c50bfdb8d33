"""iCaRL: its loss, its batches, its exemplars and its answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestCentroid
from torch import nn

from mlexpert.blocks.layers.nearest_mean_head import NearestMeanHead
from mlexpert.blocks.layers.task_classes import TaskClasses
from mlexpert.errors import InputError
from mlexpert.recipes import get
from mlexpert.recipes.continual_cls.icarl import IcarlMethod
from mlexpert.training.method import Batch, Task

DIGITS = load_digits()
IMAGES = np.round(DIGITS.images * (255 / 16)).astype(np.uint8)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), NearestMeanHead(nn.Linear(7, 4)))


def method_of(**fields) -> IcarlMethod:
    return IcarlMethod(TaskClasses(4), get("continual-cls/icarl", **fields))


def rows(labels: tuple[int, int], count: int = 20) -> Batch:
    targets = torch.arange(count) % 2 * (labels[1] - labels[0]) + labels[0]
    return Batch(torch.randn(count, 5) + targets[:, None], targets, torch.arange(count))


def task_of(number: int, batch: Batch) -> Task:
    """Return a task whose rows come in pieces of 8."""
    counts = torch.bincount(batch.targets, minlength=4)
    pieces = [batch.map(lambda column, at=at: column[at : at + 8]) for at in (0, 8, 16)]
    return Task(number, counts, lambda: iter(pieces))


def after_one_task(**fields) -> tuple[IcarlMethod, nn.Module, Batch]:
    model, method = network(), method_of(**fields)
    first = rows((0, 1))
    method.begin_task(model, task_of(0, first))
    method.draw(model, first)
    method.end_task(model.eval(), task_of(0, first))
    return method, model.train(), first


def test_the_loss_is_that_of_the_paper() -> None:
    """Algorithm 3: labels for new classes, the sigmoid of the earlier network for old ones.

    Its logits are halved, as van de Ven et al. 2022 do.
    """
    method, model, _ = after_one_task()
    second, before = rows((2, 3)), network().train()  # the same weights
    method.begin_task(model, task_of(1, second))
    batch = method.draw(model, second)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    loss = method.loss(model, batch)
    labels = F.one_hot(batch.targets, 4).float()
    labels[:, :2] = (before(batch.inputs)[:, :2] / 2).sigmoid().detach()
    expected = F.binary_cross_entropy_with_logits(model(batch.inputs), labels, reduction="sum")
    torch.testing.assert_close(loss.total, expected)
    assert loss.count == len(batch)
    loss.total.backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())


def test_the_first_task_has_no_teacher_and_no_class_to_come() -> None:
    model, method, first = network().train(), method_of(), rows((0, 1))
    method.begin_task(model, task_of(0, first))
    batch = method.draw(model, first)
    labels = F.one_hot(batch.targets, 4).float()[:, :2]
    logits = model(batch.inputs)[:, :2]
    expected = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
    torch.testing.assert_close(method.loss(model, batch).total, expected)
    assert method.teacher is None


def test_exemplars_stand_in_a_batch_as_if_they_were_mixed_with_the_task() -> None:
    torch.manual_seed(1)
    method, model, _ = after_one_task(buffer_size=10)
    second = rows((2, 3), 200)
    method.begin_task(model, task_of(1, second))
    some = second.map(lambda column: column[:50])
    drawn = [method.draw(model, some) for _ in range(400)]
    assert np.mean([len(batch) - 50 for batch in drawn]) == pytest.approx(50 * 10 / 200, abs=0.15)
    for batch in drawn[:20]:
        replayed = batch.index < 0
        slots = -1 - batch.index[replayed]
        kept = method.exemplars.rows.read(slots)
        assert torch.equal(kept.inputs, batch.inputs[replayed])
        assert torch.equal(kept.targets, batch.targets[replayed]) and replayed[:50].sum() == 0


def test_answers_are_the_nearest_centroids_of_the_exemplars() -> None:
    method, model, _ = after_one_task(buffer_size=8)
    second = rows((2, 3))
    method.begin_task(model, task_of(1, second))
    method.draw(model, second)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    method.end_task(model.eval(), task_of(1, second))
    assert set(method.exemplars.counts.values()) == {2}
    kept = method.exemplars.draw(99)
    with torch.no_grad():
        features = F.normalize(model[:2](kept.inputs), dim=1)
        asked = torch.randn(50, 5) * 2
        found = model(asked).argmax(dim=1)
        apart = F.normalize(model[:2](asked), dim=1)
    nearest = NearestCentroid().fit(features.numpy(), kept.targets.numpy())
    nearest.centroids_ = F.normalize(torch.tensor(nearest.centroids_), dim=1).numpy()
    np.testing.assert_array_equal(found, nearest.predict(apart.numpy()))


def test_means_are_of_the_task_s_end_and_not_kept_while_features_change() -> None:
    method, model, first = after_one_task()
    head = model[2]
    assert head.known.tolist() == [True, True, False, False]
    method.begin_task(model, task_of(1, rows((2, 3))))
    assert not head.known.any()
    torch.testing.assert_close(model.eval()(first.inputs), head.linear(model[:2](first.inputs)))


def test_a_class_that_comes_again_is_learned_by_its_labels() -> None:
    model, method = network().train(), method_of(scenario="domain")
    for number in range(2):
        one = rows((0, 1))
        method.begin_task(model, task_of(number, one))
        batch = method.draw(model.train(), one)
        labels = F.one_hot(batch.targets, 4).float()[:, :2]
        logits = model(batch.inputs)[:, :2]
        expected = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        torch.testing.assert_close(method.loss(model, batch).total, expected)
        method.end_task(model.eval(), task_of(number, one))
    assert sorted(method.exemplars.counts) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_old_classes_are_remembered(tmp_path: Path) -> None:
    fields = {"backbone": "mlp", "epochs": 10, "batch_size": 32, "precision": "fp32"}
    recipe = get("continual-cls/icarl", buffer_size=100, num_tasks=3, **fields)
    fitted = recipe.fit((IMAGES[:600], DIGITS.target[:600]), run_dir=tmp_path, progress=False)
    assert fitted.accuracy_matrix()[3].min() > 0.6  # fine-tuning has 0 for the first two tasks


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'class' or 'domain': .*continual-cls/lwf"):
        get("continual-cls/icarl", scenario="task")
    with pytest.raises(InputError, match="boundaries=False"):
        get("continual-cls/icarl", boundaries=False)
    recipe = get("continual-cls/icarl", buffer_size=3, backbone="mlp", epochs=1)
    with pytest.raises(InputError, match="at least 10, an exemplar for each class of each task"):
        recipe.fit((IMAGES[:300], DIGITS.target[:300]), run_dir=tmp_path, progress=False)
