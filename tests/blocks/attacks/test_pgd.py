"""PGD against the closed form of linear models, and the model as it was before."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mlexpert.blocks.attacks.attacked import attacked, input_gradient, logits_at
from mlexpert.blocks.attacks.fgsm import fgsm
from mlexpert.blocks.attacks.margins import cross_entropy, is_broken, margin
from mlexpert.blocks.attacks.pgd import pgd, pgd_restarts
from mlexpert.blocks.attacks.threat import Threat
from mlexpert.errors import InputError

DUAL = {"linf": 1, "l2": 2}


def linear() -> tuple[nn.Linear, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Linear(20, 2)
    inputs = torch.rand(300, 20) * 0.2 + 0.4  # far from the box, which then plays no part
    return model.requires_grad_(False), inputs, model(inputs).argmax(dim=1)


def batch_normed() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(4 * 36, 3),
    )


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_breaks_exactly_the_rows_of_a_linear_model_that_can_be(norm: str) -> None:
    model, inputs, targets = linear()
    apart = (model.weight[0] - model.weight[1]).norm(DUAL[norm])
    distance = -margin(model(inputs), targets) / apart
    epsilon = float(distance.median())
    found = pgd_restarts(
        model, inputs, targets, Threat(norm, epsilon), steps=20, step_size=0.2, restarts=2, seed=0
    )
    clear = (distance / epsilon - 1).abs() > 1e-3
    broken = is_broken(logits_at(model, found), targets)
    assert torch.equal(broken[clear], (distance < epsilon)[clear])


def test_fgsm_is_one_step_of_the_whole_radius() -> None:
    model, inputs, targets = linear()
    moved = fgsm(model, inputs, targets, Threat("linf", 0.05))
    assert ((moved - inputs).abs() > 0.0499).all()
    assert (cross_entropy(model(moved), targets) > cross_entropy(model(inputs), targets)).all()


def test_more_steps_and_restarts_are_never_weaker() -> None:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 3))
    inputs = torch.rand(200, 10)
    targets, threat = model(inputs).argmax(dim=1), Threat("linf", 0.05)

    def standing(steps: int, restarts: int) -> int:
        found = pgd_restarts(
            model, inputs, targets, threat, steps=steps, step_size=0.3, restarts=restarts, seed=0
        )
        return int((~is_broken(logits_at(model, found), targets)).sum())

    assert standing(1, 1) > standing(10, 1) >= standing(10, 5) > 0


def test_result_does_not_depend_on_the_batch() -> None:
    model, inputs, targets = linear()
    options = {"steps": 5, "step_size": 0.3, "restarts": 2, "seed": 3}
    threat, ids = Threat("l2", 0.1), torch.arange(300)
    together = pgd_restarts(model, inputs, targets, threat, **options)
    parts = [
        pgd_restarts(model, inputs[cut], targets[cut], threat, **options, ids=ids[cut])
        for cut in (slice(0, 1), slice(1, 130), slice(130, 300))
    ]
    torch.testing.assert_close(torch.cat(parts), together)


def test_a_row_that_is_wrong_already_is_left_alone() -> None:
    model, inputs, targets = linear()
    targets = 1 - targets
    found = pgd_restarts(
        model, inputs, targets, Threat("linf", 0.1), steps=3, step_size=1.0, restarts=2, seed=0
    )
    assert torch.equal(found, inputs)


def test_model_is_exactly_as_it_was_also_after_an_error() -> None:
    model, inputs = batch_normed(), torch.rand(8, 2, 6, 6)
    model[0].weight.requires_grad_(False)
    model(inputs).sum().backward()
    model[3].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = {name: one.grad for name, one in model.named_parameters()}
    places = [one.data_ptr() for one in model.parameters()]
    state = torch.get_rng_state()
    pgd(model, inputs, torch.zeros(8).long(), Threat("linf", 0.1), steps=2, step_size=0.5)
    with pytest.raises(ZeroDivisionError), attacked(model):
        torch.rand(3)
        model(inputs)
        raise ZeroDivisionError
    assert [module.training for module in model.modules()] == [True] * 4 + [False, True, True]
    assert [one.requires_grad for one in model.parameters()] == [False] + [True] * 5
    assert all(one.grad is gradients[name] for name, one in model.named_parameters())
    assert [one.data_ptr() for one in model.parameters()] == places
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_convolution_of_grey_images_lies_channels_last_meanwhile() -> None:
    """With one channel both layouts count as contiguous; strides alone tell a convolution."""
    convolution, images = nn.Conv2d(1, 4, 3), torch.rand(2, 1, 8, 8)
    before = convolution.weight.stride()
    with attacked(convolution):
        answer = convolution(images)
        assert answer.is_contiguous(memory_format=torch.channels_last)
        assert not answer.is_contiguous()
    assert convolution.weight.stride() == before


def test_what_comes_back_through_a_flattening_lies_channels_last() -> None:
    seen = []
    hidden = nn.Conv2d(1, 4, 3)

    def look(_: nn.Module, __: tuple[Tensor, ...], answer: Tensor) -> None:
        answer.register_hook(seen.append)

    hidden.register_forward_hook(look)
    model, images = nn.Sequential(hidden, nn.Flatten(), nn.Linear(144, 3)), torch.rand(2, 1, 8, 8)
    plain = torch.autograd.grad(model(images.requires_grad_()).sum(), images)[0]
    with attacked(model):
        moved, _, _ = input_gradient(model, images, lambda logits: logits.sum(dim=1))
    assert [one.is_contiguous(memory_format=torch.channels_last) for one in seen] == [False, True]
    torch.testing.assert_close(moved, plain)
    assert not model[1]._forward_pre_hooks


def test_a_flattening_may_be_called_by_keyword() -> None:
    class Called(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.flatten = nn.Conv2d(1, 4, 3), nn.Flatten()

        def forward(self, images: Tensor) -> Tensor:
            return self.flatten(input=self.hidden(images))

    model, images = Called(), torch.rand(2, 1, 8, 8)
    with attacked(model):
        assert torch.isfinite(input_gradient(model, images, lambda z: z.sum(dim=1))[0]).all()


def test_a_model_without_a_gradient_is_refused() -> None:
    model = nn.Linear(4, 2)
    with pytest.raises(InputError, match="square"):
        input_gradient(lambda inputs: model(inputs.detach()), torch.rand(2, 4), torch.sum)


def test_gradient_is_that_of_torch() -> None:
    model, inputs, targets = linear()
    found, values, logits = input_gradient(model, inputs, lambda out: cross_entropy(out, targets))
    leaf = inputs.clone().requires_grad_()
    nn.functional.cross_entropy(model(leaf), targets, reduction="sum").backward()
    torch.testing.assert_close(found, leaf.grad)
    torch.testing.assert_close(values.sum(), cross_entropy(logits, targets).sum())


def test_what_is_not_a_number_counts_as_broken() -> None:
    logits = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [float("nan"), 0.0]])
    assert is_broken(logits, torch.zeros(4).long()).tolist() == [False, False, True, True]
