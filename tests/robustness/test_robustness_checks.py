"""The sanity list: what is sound passes, and models that hide their gradients do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import mlexpert
from mlexpert.blocks.attacks.attacked import attacked
from mlexpert.blocks.attacks.ensemble import run_attempts
from mlexpert.blocks.attacks.threat import Threat
from mlexpert.robustness.result import Check, Robustness, verdict_of
from mlexpert.robustness.scene import Scene, spaced, whole_box
from mlexpert.robustness.validity import validity_of

EPSILON = 0.1


def trained(rows: Tensor, labels: Tensor) -> nn.Module:
    """A small network that was trained without any thought of attacks."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(rows), labels).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def rows() -> tuple[Tensor, Tensor]:
    """Images of noise in which a third is a little brighter."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (90,), generator=generator)
    images = torch.rand(90, 1, 8, 8, generator=generator) * 0.6 + 0.2
    for row, label in enumerate(labels.tolist()):
        images[row, :, 2 * label : 2 * label + 3] += 0.15
    return images, labels


@pytest.fixture(scope="module")
def model(rows) -> nn.Module:
    return trained(*rows)


def attack(model: nn.Module, rows, **given) -> Robustness:
    settings = {"attack": "pgd", "epsilon": EPSILON, "steps": 20, "restarts": 2, "progress": False}
    return mlexpert.attack(model.eval(), rows, **(settings | given))


def words(found: Robustness) -> dict[str, str]:
    return {check.name: check.verdict for check in found.checks}


def test_an_undefended_model_falls_and_the_number_is_trusted(model, rows):
    found = attack(model, rows, epsilon=0.2)
    assert found.clean.accuracy > 0.95 and found.robust.accuracy < 0.02
    assert found.verdict == "trusted", str(found)
    assert set(words(found).values()) == {"passed", "not measured"}
    accuracies = [point["accuracy"] for point in found.sweep]
    assert accuracies == sorted(accuracies, reverse=True) and accuracies[-1] < 0.05
    assert found.zero_gradients == 0.0


class Stairs(nn.Module):
    """A model behind a rounding that has no slope: gradients say nothing, queries do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model((inputs * 20).round() / 20)


class Steep(nn.Module):
    """A model whose logits stand on stairs with a slope that leads the other way."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        logits = self.model(inputs)
        return (logits * 1.0).detach() - (logits - logits.detach())  # its sign is turned


@pytest.mark.parametrize("hides", [Stairs, Steep])
@pytest.mark.parametrize("how", ["pgd", "quick"])
def test_a_model_that_hides_its_gradients_is_suspect(model, rows, hides, how):
    given = {} if how == "pgd" else {"steps": None, "restarts": None}
    found = attack(hides(model), rows, attack=how, **given)
    assert found.robust.accuracy > attack(model, rows).robust.accuracy
    assert found.verdict == "suspect", str(found)
    said = words(found)
    assert (
        said["unbounded_reaches_zero"] == "suspect" or said["black_box_not_stronger"] == "suspect"
    )
    assert (said["has_slope"] == "suspect") == (hides is Stairs)
    if hides is Stairs:
        assert found.zero_gradients == 1.0


def test_a_single_step_is_told_from_a_sound_attack(model, rows):
    found = attack(model, rows, attack="fgsm", steps=None, restarts=None, epsilon=0.08)
    sound = attack(model, rows, epsilon=0.08)
    assert found.robust.correct >= sound.robust.correct


def test_queries_alone_are_held_beside_gradients(model, rows):
    found = attack(model, rows, attack="square", steps=5, restarts=None)
    assert words(found)["black_box_not_stronger"] == "suspect" and found.verdict == "suspect"
    seen = next(check for check in found.checks if check.name == "black_box_not_stronger")
    assert "too high" in seen.detail


def test_a_model_that_draws_at_random_is_suspect(model, rows):
    class Noisy(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return model(inputs) + torch.randn(len(inputs), 3)

    assert words(attack(Noisy(), rows))["reproducible"] == "suspect"


class Constant(nn.Module):
    """A model that says one class whatever it sees, with a slope."""

    def forward(self, inputs: Tensor) -> Tensor:
        first = 100 + inputs.flatten(1).mean(dim=1, keepdim=True)
        return torch.cat([first, first * 0, first * 0], dim=1)


def test_what_no_attack_reaches_is_invalid(rows):
    found = attack(Constant(), rows)
    assert found.robust.correct == found.clean.correct > 0
    assert words(found)["unbounded_reaches_zero"] == "failed" and found.verdict == "invalid"


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_inputs_outside_the_threat_are_invalid(model, rows, norm):
    inputs, targets = rows
    threat = Threat(norm, 0.5)
    with attacked(model):
        outcome = run_attempts(model, inputs, targets, threat, ())
        scene = Scene(model, inputs, targets, threat, 0.5, outcome, 1, True, 0, 100)
        assert validity_of(scene)[1].verdict == "passed"
        far = {"linf": 0.5001, "l2": 0.5001 / 8, "l1": 0.5001 / 64}[norm]
        for moved, number in ((inputs[:2] + far, 2), (inputs[:1] * torch.nan, 1)):
            adversarial = inputs.clone()
            adversarial[: len(moved)] = moved
            changed = replace(scene, outcome=replace(outcome, adversarial=adversarial))
            validity, check = validity_of(changed)
            assert validity["outside"] == number and check.verdict == "failed"
        assert verdict_of([check]) == "invalid"


def test_an_input_that_does_not_break_again_is_no_finding(model, rows):
    inputs, targets = rows
    outcome = run_attempts(model, inputs, targets, Threat("linf", 0.1), ())
    claimed = replace(outcome, broken_by=torch.zeros_like(outcome.broken_by))
    scene = Scene(model, inputs, targets, Threat("linf", 0.1), 0.1, claimed, 1, True, 0, 100)
    assert validity_of(scene)[1].verdict == "suspect"


def test_without_checks_nothing_is_trusted(model, rows):
    found = attack(model, rows, checks=False)
    assert found.verdict == "suspect" and found.sweep == () and found.landscape is None
    said = words(found)
    assert said.pop("valid_inputs") == "passed" and set(said.values()) == {"not measured"}


def test_the_landscape_rises_along_the_gradient(model, rows):
    losses = torch.tensor(attack(model, rows).landscape["losses"])
    middle = losses[5]
    assert bool((middle.diff() > 0).all())  # from against the gradient to along it
    assert middle[10] - middle[5] > 2 * (losses[10, 5] - middle[5]).abs()


def test_what_a_verdict_is_made_of():
    def of(**said: str) -> str:
        return verdict_of([Check(name, "", word, "") for name, word in said.items()])

    assert of(valid_inputs="passed", transfer="not measured") == "trusted"
    assert of(valid_inputs="passed", has_slope="not measured") == "suspect"
    assert of(valid_inputs="passed", has_slope="suspect") == "suspect"
    assert of(valid_inputs="passed", falls_with_epsilon="failed") == "suspect"
    assert of(valid_inputs="failed", has_slope="passed") == "invalid"
    assert of(valid_inputs="passed", unbounded_reaches_zero="failed") == "invalid"


def test_rows_are_spaced_and_boxes_whole():
    assert spaced(torch.arange(10), 4).tolist() == [0, 2, 5, 7]
    assert spaced(torch.arange(3), 4).tolist() == [0, 1, 2]
    threat = Threat(
        "linf", torch.tensor([0.5, 0.0]), torch.tensor([1.0, 0.0]), torch.tensor([4.0, 9.0])
    )
    assert whole_box(threat, torch.zeros(1, 2)).epsilon.tolist() == [3.0, 0.0]
    assert whole_box(Threat("l2", 0.5), torch.zeros(1, 2)) == Threat("linf", 1.0)
