"""Cross-entropy per example against torch's and against its definition."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mlexpert.blocks.losses.cross_entropy import ClassWeighted, cross_entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_one_model_equals_the_definition(smoothing: float) -> None:
    logits, targets = torch.randn(7, 4, dtype=torch.float64), torch.randint(4, (7,))
    soft = F.one_hot(targets, 4) * (1 - smoothing) + smoothing / 4
    expected = -(soft * logits.softmax(1).log()).sum(1)
    losses = cross_entropy(logits, targets, label_smoothing=smoothing)
    assert losses.shape == (7,)
    torch.testing.assert_close(losses, expected.float())


def test_members_are_averaged_as_losses_of_single_models() -> None:
    logits, targets = torch.randn(6, 3, 5), torch.randint(5, (6,))
    singles = [
        F.cross_entropy(logits[:, member], targets, reduction="none", label_smoothing=0.2)
        for member in range(3)
    ]
    losses = cross_entropy(logits, targets, label_smoothing=0.2)
    torch.testing.assert_close(losses, torch.stack(singles).mean(0))


def test_half_precision_logits_give_a_float32_loss() -> None:
    logits = torch.randn(50, 6, dtype=torch.bfloat16) * 5
    targets = torch.randint(6, (50,))
    losses = cross_entropy(logits, targets)
    assert losses.dtype == torch.float32
    exact = F.cross_entropy(logits.double(), targets, reduction="none")
    torch.testing.assert_close(losses.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("soft", [False, True])
def test_weights_and_shares_equal_the_definition(soft: bool, smoothing: float) -> None:
    torch.manual_seed(0)
    logits, weight = torch.randn(7, 4), torch.tensor([0.5, 1.0, 2.0, 4.0])
    shares = torch.rand(7, 4).softmax(1) if soft else F.one_hot(torch.randint(4, (7,)), 4).float()
    targets = shares if soft else shares.argmax(1)
    smooth = shares * (1 - smoothing) + smoothing / 4
    expected = -(smooth * weight * logits.log_softmax(1)).sum(1)
    losses = cross_entropy(logits, targets, label_smoothing=smoothing, class_weight=weight)
    torch.testing.assert_close(losses, expected)
    members = cross_entropy(
        logits.unsqueeze(1).expand(-1, 3, -1),
        targets,
        label_smoothing=smoothing,
        class_weight=weight,
    )
    torch.testing.assert_close(members, expected)
    module = ClassWeighted(weight.double(), label_smoothing=smoothing)
    assert torch.equal(module(logits, targets), losses)


def test_a_hard_share_is_its_index_and_torch_divides_by_the_weights() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(40, 3), torch.randint(3, (40,))
    weight = 40 / (3 * torch.bincount(targets))  # balanced: their mean over these rows is 1
    losses = cross_entropy(logits, targets, class_weight=weight)
    torch.testing.assert_close(losses.mean(), F.cross_entropy(logits, targets, weight=weight))
    shares = F.one_hot(targets, 3).float()
    torch.testing.assert_close(cross_entropy(logits, shares, class_weight=weight), losses)
