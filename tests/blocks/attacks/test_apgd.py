from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mlexpert.blocks.attacks.apgd import apgd, apgd_targeted, likeliest_others
from mlexpert.blocks.attacks.apgd_climb import checkpoints
from mlexpert.blocks.attacks.dlr import dlr, targeted_dlr, targeted_margin
from mlexpert.blocks.attacks.margins import cross_entropy, is_broken, margin
from mlexpert.blocks.attacks.threat import Norm, Threat
from mlexpert.errors import InputError

DUAL = {"linf": 1, "l2": 2, "l1": torch.inf}


def linear(num_classes: int = 5, seed: int = 0) -> tuple[nn.Linear, Tensor, Tensor]:
    """A linear model, inputs in the middle of the box, and targets of which some are wrong."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Linear(12, num_classes)
    with torch.no_grad():
        model.weight.copy_(torch.randn(num_classes, 12, generator=generator))
        model.bias.zero_()
        inputs = torch.rand(120, 12, generator=generator) * 0.04 + 0.48
        targets = model(inputs).argmax(dim=1)
    targets[:5] = (targets[:5] + 1) % num_classes
    return model, inputs, targets


def distances(model: nn.Linear, inputs: Tensor, targets: Tensor, norm: Norm) -> Tensor:
    """How far each row is from the nearest class that is not its own: (z_y - z_k) / |w_y - w_k|."""
    with torch.no_grad():
        logits, weight = model(inputs), model.weight
        apart = (weight[None] - weight[targets][:, None]).norm(dim=2, p=DUAL[norm])
        ahead = (logits.gather(1, targets[:, None]) - logits) / apart.clamp_min(1e-9)
        return ahead.scatter(1, targets[:, None], torch.inf).amin(dim=1)


def halfway(distance: Tensor) -> float:
    """A radius that breaks half of the rows, in the middle of a gap between two."""
    ordered, half = distance.sort().values, len(distance) // 2
    return float(ordered[half - 1 : half + 1].mean())


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(144, 5)
    )


def test_checkpoints_are_those_of_the_paper() -> None:
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == [1]


def test_dlr_is_what_it_is_by_hand() -> None:
    logits = torch.tensor([[4.0, 1.0, 3.0, 0.0], [4.0, 1.0, 3.0, 0.0]])
    targets = torch.tensor([0, 1])
    assert torch.allclose(dlr(logits, targets), torch.tensor([-1 / 4, 3 / 4]) * 4 / 3)
    others = torch.tensor([3, 0])
    expected = torch.tensor([-4 / 3.5, 3 / 3.5])
    assert torch.allclose(targeted_dlr(logits, targets, others), expected)
    assert targeted_margin(logits, targets, others).tolist() == [-4.0, 3.0]


def test_dlr_does_not_see_a_scale_or_a_shift() -> None:
    logits = torch.randn(50, 6, dtype=torch.float64)
    targets, others = torch.arange(50) % 6, (torch.arange(50) + 2) % 6
    changed = 1000 * logits + 7
    assert torch.allclose(dlr(logits, targets), dlr(changed, targets))
    assert torch.allclose(
        targeted_dlr(logits, targets, others), targeted_dlr(changed, targets, others)
    )
    assert ((dlr(logits, targets) > 0) == (logits.argmax(dim=1) != targets)).all()


def test_dlr_of_equal_logits_has_a_gradient() -> None:
    logits = torch.zeros(2, 5, requires_grad=True)
    value = dlr(logits, torch.tensor([0, 3]))
    value.sum().backward()
    assert (value == 0).all()
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_dlr_refuses_too_few_classes() -> None:
    targets = torch.tensor([0])
    with pytest.raises(InputError, match="at least 3 classes, and the model has 2"):
        dlr(torch.zeros(1, 2), targets)
    with pytest.raises(InputError, match="at least 4 classes, and the model has 3"):
        targeted_dlr(torch.zeros(1, 3), targets, targets)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("objective", [cross_entropy, margin])
def test_breaks_of_two_linear_classes_exactly_what_can_be(norm, objective) -> None:
    model, inputs, targets = linear(2)
    distance = distances(model, inputs, targets, norm)
    threat = Threat(norm, halfway(distance), -5.0, 5.0)
    moved = apgd(model, inputs, targets, threat, steps=30, objective=objective)
    assert torch.equal(is_broken(model(moved), targets), distance < threat.epsilon)
    assert (threat.distance(moved, inputs) <= threat.epsilon).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_targeted_breaks_of_a_linear_model_exactly_what_can_be(norm, num_classes) -> None:
    model, inputs, targets = linear(num_classes)
    distance = distances(model, inputs, targets, norm)
    threat = Threat(norm, halfway(distance), -5.0, 5.0)
    objective = targeted_dlr if num_classes > 3 else targeted_margin
    moved = apgd_targeted(model, inputs, targets, threat, steps=40, objective=objective)
    assert torch.equal(is_broken(model(moved), targets), distance < threat.epsilon)


def test_dlr_breaks_what_cross_entropy_does_and_stays_in_the_box() -> None:
    model, inputs, targets = linear()
    threat = Threat("linf", 0.3, 0.3, 0.7)
    moved = apgd(model, inputs, targets, threat, steps=20, objective=dlr)
    assert is_broken(model(moved), targets).sum() > is_broken(model(inputs), targets).sum()
    assert moved.min() >= 0.3 and moved.max() <= 0.7


def test_targeted_dlr_of_three_classes_is_refused() -> None:
    model, inputs, targets = linear(3)
    with pytest.raises(InputError, match="classes"):
        apgd_targeted(model, inputs, targets, Threat("linf", 0.1), steps=2)


def test_where_all_is_wrong_already_nothing_moves() -> None:
    model, inputs, _ = linear()
    wrong = (model(inputs).argmax(dim=1) + 1) % 5
    for attack in (apgd, apgd_targeted):
        assert torch.equal(attack(model, inputs, wrong, Threat("linf", 0.1), steps=3), inputs)


def test_rows_that_stand_end_at_their_highest_objective() -> None:
    model, inputs, targets = linear()
    threat = Threat("linf", 0.01)
    with torch.no_grad():
        ends = [
            cross_entropy(model(apgd(model, inputs, targets, threat, steps=steps)), targets)
            for steps in (1, 5, 40)
        ]
        clean = cross_entropy(model(inputs), targets)
    stands = distances(model, inputs, targets, "linf") > 0.01
    assert (ends[2] >= ends[1] - 1e-6)[stands].all() and (ends[1] >= ends[0] - 1e-6)[stands].all()
    assert (ends[2] > clean)[stands].all()


@pytest.mark.parametrize("attack", [apgd, apgd_targeted])
def test_the_batch_and_its_order_do_not_matter(attack) -> None:
    model, generator = net().eval(), torch.Generator().manual_seed(1)
    inputs = torch.rand(12, 1, 8, 8, generator=generator)
    targets = model(inputs).argmax(dim=1)
    threat = Threat("linf", 0.02)
    whole, cut = attack(model, inputs, targets, threat, steps=8, seed=3), torch.empty_like(inputs)
    for some in torch.arange(12).flip(0).split(5):
        cut[some] = attack(model, inputs[some], targets[some], threat, steps=8, seed=3, ids=some)
    assert torch.allclose(whole, cut, atol=1e-5)
    assert torch.equal(whole, attack(model, inputs, targets, threat, steps=8, seed=3))
    assert not torch.equal(whole, attack(model, inputs, targets, threat, steps=8, seed=4))


def test_the_model_is_left_as_it_was() -> None:
    model, inputs = net().train(), torch.rand(6, 1, 8, 8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    apgd_targeted(model, inputs, torch.arange(6) % 5, Threat("l2", 0.5), steps=3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(one.grad is None and one.requires_grad for one in model.parameters())
    assert all(module.training for module in model.modules())
    assert torch.equal(random, torch.get_rng_state())


def test_a_column_without_a_budget_stays() -> None:
    model, inputs, targets = linear()
    budgets = torch.full((12,), 0.4)
    budgets[[1, 7]] = 0.0
    moved = apgd(model, inputs, targets, Threat("linf", budgets), steps=10)
    assert torch.equal(moved[:, [1, 7]], inputs[:, [1, 7]])
    assert ((moved - inputs).double().abs() <= budgets.double()).all()
    assert is_broken(model(moved), targets).sum() > is_broken(model(inputs), targets).sum()


def test_the_likeliest_others_leave_out_the_true_class() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0]])
    assert likeliest_others(logits, torch.tensor([1]), 2).tolist() == [[2, 0]]
    assert likeliest_others(logits, torch.tensor([0]), 9).tolist() == [[1, 2, 3]]
