"""Distillation against torch's own losses and closed forms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mlexpert.blocks.layers.task_classes import MASKED
from mlexpert.blocks.losses.distillation import binary_distillation, distillation
from mlexpert.errors import InputError


def two(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 20.0])
def test_it_is_the_divergence_of_two_categorical_distributions(temperature: float) -> None:
    logits, teacher = two(6, 5)
    p = torch.distributions.Categorical(logits=teacher.double() / temperature)
    q = torch.distributions.Categorical(logits=logits.double() / temperature)
    expected = (temperature**2 * torch.distributions.kl_divergence(p, q)).float()
    ours = distillation(logits, teacher, temperature=temperature)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=2e-7 * temperature**2)
    assert distillation(logits, logits).abs().max() < 1e-6


def test_a_high_temperature_matches_logits_as_hinton_says() -> None:
    """Section 2.1: the gradient tends to the difference of centred logits over K."""
    logits, teacher = (x.double().requires_grad_() for x in two(3, 4))
    distillation(logits.float(), teacher.float(), temperature=1000.0).sum().backward()
    difference = logits - teacher
    expected = (difference - difference.mean(dim=1, keepdim=True)) / 4
    torch.testing.assert_close(logits.grad, expected.detach(), rtol=2e-2, atol=1e-3)
    assert teacher.grad is None


def test_masked_classes_take_no_part_in_loss_and_gradient() -> None:
    logits, teacher = two(3, 4)
    mask = torch.tensor([False, True, False, True])
    wide, small = logits.clone().requires_grad_(), logits[:, ~mask].clone().requires_grad_()
    losses = distillation(wide.masked_fill(mask, MASKED), teacher.masked_fill(mask, MASKED))
    expected = distillation(small, teacher[:, ~mask])
    torch.testing.assert_close(losses, expected)
    losses.sum().backward()
    expected.sum().backward()
    assert wide.grad is not None and small.grad is not None
    torch.testing.assert_close(wide.grad[:, ~mask], small.grad)
    assert (wide.grad[:, mask] == 0).all()


def test_members_are_averaged() -> None:
    logits, teacher = two(3, 2, 4)
    alone = [distillation(logits[:, m], teacher[:, m]) for m in range(2)]
    torch.testing.assert_close(distillation(logits, teacher), (alone[0] + alone[1]) / 2)
    targets, knows = torch.tensor([0, 3, 1]), torch.tensor([True, True, False, False])
    alone = [
        binary_distillation(logits[:, m], teacher[:, m], targets, distilled=knows) for m in range(2)
    ]
    ours = binary_distillation(logits, teacher, targets, distilled=knows)
    torch.testing.assert_close(ours, (alone[0] + alone[1]) / 2)


def test_icarls_loss_is_torchs_binary_cross_entropy_with_mixed_targets() -> None:
    logits, teacher = two(3, 4)
    targets, knows = torch.tensor([0, 3, 2]), torch.tensor([True, True, False, False])
    soft = F.one_hot(targets, 4).float()
    soft[:, :2] = teacher[:, :2].sigmoid()
    expected = F.binary_cross_entropy(logits.sigmoid(), soft, reduction="none").sum(dim=1)
    ours = binary_distillation(logits, teacher, targets, distilled=knows)
    torch.testing.assert_close(ours, expected)
    masked = torch.cat([logits, torch.full((3, 2), MASKED)], dim=1)
    more = torch.cat([teacher, torch.zeros(3, 2)], dim=1)
    knows = torch.cat([knows, torch.zeros(2, dtype=torch.bool)])
    torch.testing.assert_close(binary_distillation(masked, more, targets, distilled=knows), ours)


def test_a_temperature_of_nought_is_refused() -> None:
    with pytest.raises(InputError, match=r"temperature=0\.0"):
        distillation(*two(1, 2), temperature=0.0)
