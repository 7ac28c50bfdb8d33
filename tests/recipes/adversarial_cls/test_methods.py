"""Each recipe's own idea, beside its formula or a bare loop."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mlexpert.blocks.attacks.threat import Threat
from mlexpert.errors import InputError
from mlexpert.preparation import Roles, prepare
from mlexpert.recipes import get
from mlexpert.recipes.adversarial_cls.awp import AwpMethod
from mlexpert.recipes.adversarial_cls.fast_at import FastTraining
from mlexpert.recipes.adversarial_cls.free_at import FreeTraining, repeated
from mlexpert.recipes.adversarial_cls.mart import mart_loss
from mlexpert.recipes.adversarial_cls.pgd_at import PgdTraining
from mlexpert.training.method import Batch
from mlexpert.training.methods.adversarial import Attacking
from tests.small_data import images

EPSILON = 0.1


def attacking(**options) -> Attacking:
    return Attacking(Threat("linf", EPSILON), **{"steps": 1, "step_size": 1.0, **options})


def batch(rows: int = 12) -> Batch:
    torch.manual_seed(0)
    return Batch(torch.rand(rows, 1, 4, 4), torch.randint(3, (rows,)), torch.arange(rows))


def net(*, norm: bool = False) -> nn.Sequential:
    torch.manual_seed(1)
    normed = [nn.BatchNorm1d(8)] if norm else []
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), *normed, nn.Tanh(), nn.Linear(8, 3))


def test_pgd_at_is_the_cross_entropy_under_attack() -> None:
    model, rows = net(), batch()
    found = PgdTraining(attacking(steps=3, step_size=0.5)).loss(model, rows)
    clean = F.cross_entropy(model(rows.inputs), rows.targets)
    assert found.total.item() / found.count > clean.item()


def test_mart_is_equation_11() -> None:
    torch.manual_seed(0)
    clean, moved = torch.randn(2, 5, 4).log_softmax(-1)
    targets = torch.tensor([0, 1, 2, 3, 0])
    wanted = []
    for p, q, y in zip(clean.exp(), moved.exp(), targets, strict=True):
        other = max(q[k] for k in range(4) if k != y)
        boosted = -torch.log(q[y]) - torch.log(1 - other)
        divergence = sum(p[k] * torch.log(p[k] / q[k]) for k in range(4))
        wanted.append(boosted + 5.0 * divergence * (1 - p[y]))
    found = mart_loss(clean, moved, targets, 5.0)
    torch.testing.assert_close(found, torch.stack(wanted), atol=1e-3, rtol=1e-3)  # but for SLACK
    members = mart_loss(clean[:, None], moved[:, None], targets, 5.0)
    torch.testing.assert_close(members, found)


def test_mart_is_finite_where_the_attacker_is_sure() -> None:
    sure = torch.tensor([[0.0, 100.0]]).log_softmax(-1).requires_grad_()
    loss = mart_loss(sure, sure, torch.tensor([0]), 5.0)
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(sure.grad).all()


def test_awp_moves_each_weight_by_gamma_of_its_norm_and_puts_it_back() -> None:
    model, rows = net(norm=True), batch()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    method = AwpMethod(attacking(), beta=2.0, gamma=0.01)
    method.done = 1
    method.perturb(model, rows, rows.inputs + 0.05)
    for name, value in model.state_dict().items():
        if "weight" in name and value.ndim > 1:
            share = (value - before[name]).norm() / before[name].norm()
            assert share.item() == pytest.approx(0.01, rel=1e-4)
        else:
            assert torch.equal(value, before[name])
    method.after_backward(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_awp_raises_the_loss_it_takes_the_gradient_of() -> None:
    model, rows = net(), batch()
    moved = rows.inputs + 0.05
    method = AwpMethod(attacking(), beta=2.0, gamma=0.05)
    here = method.trades(model, rows, moved).total.item()
    method.perturb(model, rows, moved)
    assert method.trades(model, rows, moved).total.item() > here


def test_awp_forgets_the_move_of_a_step_that_is_repeated() -> None:
    model, rows = net(), batch()
    before = model[1].weight.clone()
    method = AwpMethod(attacking(), beta=2.0, gamma=0.05)
    method.done = 1
    method.loss(model, rows)
    assert not torch.equal(model[1].weight, before)
    method.loss(model, rows)  # memory ran out in between: `after_backward` never came
    method.after_backward(model)
    assert torch.equal(model[1].weight, before)


def test_fast_at_with_wide_noise_does_not_cut_back() -> None:
    seen = []
    model, rows = net(), batch()
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    FastTraining(attacking(), noise=2.0, shortest=1.0).loss(model, rows)
    start, moved = seen
    assert EPSILON < (moved - rows.inputs).abs().max() <= 3 * EPSILON + 1e-6
    gone = (moved - start).abs()[(moved > 0) & (moved < 1)]
    torch.testing.assert_close(gone, torch.full_like(gone, EPSILON), atol=1e-5, rtol=0)


def test_fast_at_with_narrow_noise_stays_in_the_ball() -> None:
    seen = []
    model, rows = net(), batch()
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    FastTraining(attacking(step_size=1.25), noise=1.0, shortest=1.25).loss(model, rows)
    assert (seen[1] - rows.inputs).abs().max() <= EPSILON


def test_free_at_repeats_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = repeated(torch.zeros(20), 0.0, generator, batch_size=3, replays=2)
    assert len(rows) == 20
    cuts = rows.split(3)
    assert all(torch.equal(cuts[2 * n], cuts[2 * n + 1]) for n in range(3))
    assert len(set(rows.tolist())) == 11


def test_free_at_is_the_papers_loop() -> None:
    """Algorithm 1 by hand: one gradient moves the weights, and the change of the inputs."""
    rows, model, by_hand = batch(), net(), net()
    method = FreeTraining(attacking())
    change = torch.zeros_like(rows.inputs)
    for _ in range(3):
        drawn = method.draw(model, rows)
        found = method.loss(model, drawn)
        model.zero_grad()
        (found.total / found.count).backward()
        leaf = (rows.inputs + change).clamp(0, 1).requires_grad_()
        by_hand.zero_grad()
        F.cross_entropy(by_hand(leaf), rows.targets).backward()
        with torch.no_grad():
            for ours, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
                torch.testing.assert_close(ours.grad, theirs.grad)
                ours.sub_(0.5 * ours.grad)
                theirs.sub_(0.5 * theirs.grad)
        method.after_step(model, drawn)
        step = (leaf.detach() - rows.inputs + EPSILON * leaf.grad.sign()).clamp(-EPSILON, EPSILON)
        change = (rows.inputs + step).clamp(0, 1) - rows.inputs
        torch.testing.assert_close(method.change, change, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("epsilon", "settled"), [(8 / 255, (2.0, 1.0, 1.0)), (0.3, (1.0, 2.0, 0.0))]
)
def test_fast_at_takes_less_noise_where_it_would_hide_the_images(epsilon, settled) -> None:
    recipe = get("adversarial-cls/fast-at", epsilon=epsilon)
    found = recipe.settle(prepare(recipe, images(), Roles()).schema)
    assert (found.noise, found.step_size, found.shortest) == settled


def test_steps_of_fast_at_have_random_lengths() -> None:
    seen = []
    model, rows = net(), batch()
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    FastTraining(attacking(step_size=3.0), noise=2.0, shortest=1.0).loss(model, rows)
    start, moved = seen
    inside = (moved > 0) & (moved < 1)
    gone = [(there - here).abs()[on] for here, there, on in zip(start, moved, inside, strict=True)]
    lengths = torch.stack([one.median() for one in gone if len(one)]) / EPSILON
    assert all((one - one.median()).abs().max() < 1e-5 for one in gone if len(one))
    assert lengths.min() >= 1 - 1e-5
    assert lengths.max() <= 3 + 1e-5
    assert lengths.std() > 0.3


def test_the_shortest_step_of_fast_at_is_no_longer_than_the_longest() -> None:
    with pytest.raises(InputError, match="shortest=1.5.*at most step_size=1"):
        recipe = get("adversarial-cls/fast-at", epsilon=0.1, shortest=1.5)
        recipe.settle(prepare(recipe, images(), Roles()).schema)
