from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mlexpert.blocks.attacks.apgd import apgd_targeted
from mlexpert.blocks.attacks.auto_attack import auto_attack, standard_attempts
from mlexpert.blocks.attacks.ensemble import Attempt, Outcome, run_attempts
from mlexpert.blocks.attacks.margins import is_broken
from mlexpert.blocks.attacks.square import square
from mlexpert.blocks.attacks.threat import Threat
from mlexpert.errors import InputError


def quick(model, inputs: Tensor, targets: Tensor, threat: Threat, **given) -> Outcome:
    with torch.no_grad():
        num_classes = model(inputs[:1]).shape[1]
    attempts = standard_attempts(num_classes, version="quick", norm=threat.norm)
    return run_attempts(model, inputs, targets, threat, attempts, **given)


def linear(num_classes: int) -> tuple[nn.Linear, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(16, num_classes, bias=False).requires_grad_(False)
    model.weight.copy_(torch.randn(num_classes, 16, generator=generator))
    inputs = torch.rand(100, 16, generator=generator) * 0.04 + 0.48
    targets = model(inputs).argmax(dim=1)
    targets[:7] = (targets[:7] + 1) % num_classes
    return model, inputs, targets


def net(num_classes: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 36, num_classes),
    ).eval()


@pytest.mark.parametrize("num_classes", [2, 3, 6])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_verdict_on_a_linear_model_is_exact(norm, num_classes) -> None:
    model, inputs, targets = linear(num_classes)
    logits, dual = model(inputs), {"linf": 1, "l2": 2}[norm]
    apart = (model.weight[None] - model.weight[targets][:, None]).norm(dim=2, p=dual)
    ahead = (logits.gather(1, targets[:, None]) - logits) / apart.clamp_min(1e-9)
    distance = ahead.scatter(1, targets[:, None], torch.inf).amin(dim=1)
    epsilon = float(distance.sort().values[49:51].mean())
    outcome = quick(model, inputs, targets, Threat(norm, epsilon))
    assert torch.equal(outcome.broken, distance < epsilon)


def test_in_l1_the_gradient_attacks_are_left() -> None:
    model, inputs, targets = linear(6)
    outcome = quick(model, inputs, targets, Threat("l1", 0.5))
    assert [gain.name for gain in outcome.gains] == ["PGD", "APGD-CE", "APGD-T"]
    assert outcome.broken.sum() > 7


def test_the_standard_ensemble_runs_with_its_parameters() -> None:
    model, inputs, targets = linear(3)
    outcome = auto_attack(model, inputs[:6], targets[:6], Threat("linf", 0.5))
    assert outcome.broken.all()
    assert [gain.name for gain in outcome.gains] == ["PGD", "APGD-CE", "APGD-T", "Square", "FAB-T"]
    assert outcome.gains[1].parameters == {"objective": "cross-entropy", "steps": 100}
    assert "DLR needs 4" in str(outcome.gains[2].parameters["objective"])
    ten = standard_attempts(10)
    assert ten[2].parameters == {"objective": "targeted DLR", "steps": 100, "num_targets": 9}
    assert ten[3].parameters["queries"] == 5000 and ten[4].parameters["num_targets"] == 9


def test_an_undefended_net_falls_to_nothing_and_the_books_balance() -> None:
    model, inputs = net(), torch.rand(40, 1, 6, 6)
    with torch.no_grad():
        targets = model(inputs).argmax(dim=1)
    targets[:4] = (targets[:4] + 1) % 4
    threat = Threat("linf", 0.3)
    outcome = quick(model, inputs, targets, threat)
    assert outcome.broken.all()
    assert outcome.clean_correct.tolist() == [False] * 4 + [True] * 36
    assert (outcome.broken_by[:4] == -1).all() and (outcome.broken_by[4:] >= 0).all()
    assert is_broken(model(outcome.adversarial), targets).all()
    assert torch.equal(outcome.adversarial[:4], inputs[:4])
    assert (threat.distance(outcome.adversarial, inputs) <= 0.3).all()
    standing = 36
    for index, gain in enumerate(outcome.gains):
        assert gain.standing_before == standing
        standing -= int((outcome.broken_by == index).sum())
        assert gain.standing_after == standing
    assert standing == 0


def test_rows_at_once_do_not_matter_and_the_same_seed_is_the_same() -> None:
    model, inputs = net(), torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        targets, threat = model(inputs).argmax(dim=1), Threat("linf", 0.05)

    def climbs(model, inputs, targets, threat, ids) -> Tensor:
        return apgd_targeted(model, inputs, targets, threat, steps=5, num_targets=1, ids=ids)

    def searches(model, inputs, targets, threat, ids) -> Tensor:
        return square(model, inputs, targets, threat, queries=30, ids=ids)

    attempts = [Attempt("searches", {}, searches), Attempt("climbs", {}, climbs)]
    whole, cut, again = (
        run_attempts(model, inputs, targets, threat, attempts, rows=rows) for rows in (500, 7, 500)
    )
    assert 0 < whole.broken.sum() < 40
    assert torch.equal(whole.broken_by, cut.broken_by)
    assert torch.allclose(whole.adversarial, cut.adversarial, atol=1e-5)
    assert torch.equal(whole.adversarial, again.adversarial)
    stands = whole.broken_by == -2
    assert torch.equal(whole.adversarial[stands], inputs[stands])


def test_all_wrong_at_once() -> None:
    model, inputs, _ = linear(6)
    wrong = (model(inputs).argmax(dim=1) + 1) % 6
    outcome = quick(model, inputs, wrong, Threat("linf", 0.1))
    assert outcome.broken.all() and (outcome.broken_by == -1).all()
    assert all(gain.standing_before == gain.standing_after == 0 for gain in outcome.gains)


def test_square_breaks_what_has_no_gradient() -> None:
    model, inputs, targets = linear(6)

    def masked(inputs: Tensor) -> Tensor:
        return model((inputs * 30).round().detach() / 30) + 0 * inputs[:, :1]

    targets = masked(inputs).argmax(dim=1)
    outcome = quick(masked, inputs, targets, Threat("linf", 0.15))
    found = [int((outcome.broken_by == index).sum()) for index in range(5)]
    assert found[3] > 0.5 * len(inputs) and found[1] + found[2] + found[4] < 0.3 * len(inputs)


def test_an_attack_is_not_believed() -> None:
    model, inputs, targets = linear(6)
    inputs, targets = inputs[7:], targets[7:]

    def leaves(model, inputs, targets, threat, ids) -> Tensor:
        return inputs + 5 * (ids % 2)[:, None]

    def spoils(model, inputs, targets, threat, ids) -> Tensor:
        return torch.full_like(inputs, torch.nan)

    attempts = [Attempt("leaves", {}, leaves), Attempt("spoils", {}, spoils)]
    threat = Threat("linf", 1e-6)
    outcome = run_attempts(model, inputs, targets, threat, attempts)
    assert not outcome.broken.any()
    assert torch.equal(outcome.adversarial, inputs)


def test_the_model_is_left_as_it_was_also_after_an_exception() -> None:
    model, inputs = net().train(), torch.rand(6, 1, 6, 6)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random, targets = torch.get_rng_state(), torch.arange(6) % 4

    def fails(model, inputs, targets, threat, ids) -> Tensor:
        model(inputs)
        raise RuntimeError("no more")

    quick(model, inputs, targets, Threat("linf", 0.1))
    with pytest.raises(RuntimeError, match="no more"):
        run_attempts(
            model, inputs, model(inputs).argmax(1), Threat("linf", 0), [Attempt("fails", {}, fails)]
        )
    assert all(one.grad is None and one.requires_grad for one in model.parameters())
    assert all(module.training for module in model.modules())
    assert torch.equal(random, torch.get_rng_state())
    assert torch.equal(before["4.weight"], model.state_dict()["4.weight"])


def test_tells_how_far_it_is() -> None:
    model, inputs, targets = linear(6)
    told: list[tuple[str, int, int]] = []
    attempts = standard_attempts(6, version="quick")[:1]
    run_attempts(
        model,
        inputs,
        targets,
        Threat("linf", 0.04),
        attempts,
        rows=50,
        on_progress=lambda *state: told.append(state),
    )
    assert told == [("PGD", 50, 93), ("PGD", 93, 93)]


def test_refuses_inputs_outside_the_box_and_none() -> None:
    model, inputs, targets = linear(6)
    with pytest.raises(InputError, match="outside the box"):
        quick(model, inputs * 255, targets, Threat("linf", 8))
    with pytest.raises(InputError, match="no rows"):
        auto_attack(model, inputs[:0], targets[:0], Threat("linf", 0.1))
