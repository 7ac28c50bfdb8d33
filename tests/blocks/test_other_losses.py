"""Losses of labels and of numbers against torch's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mlexpert.blocks.losses.binary_cross_entropy import binary_cross_entropy
from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.blocks.losses.squared_error import squared_error


def test_labels_equal_torch_for_one_model_and_for_members() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(6, 3, 5), torch.randint(2, (6, 5)).float()
    singles = torch.stack(
        [
            F.binary_cross_entropy_with_logits(logits[:, member], targets, reduction="none").mean(1)
            for member in range(3)
        ]
    )
    torch.testing.assert_close(binary_cross_entropy(logits[:, 0], targets), singles[0])
    torch.testing.assert_close(binary_cross_entropy(logits, targets), singles.mean(0))


def test_smoothing_a_label_is_smoothing_two_classes() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(9, 1), torch.randint(2, (9, 1))
    two = cross_entropy(
        torch.cat([torch.zeros(9, 1), logits], 1), targets[:, 0], label_smoothing=0.2
    )
    torch.testing.assert_close(binary_cross_entropy(logits, targets, label_smoothing=0.2), two)


def test_numbers_equal_torch_for_one_model_and_for_members() -> None:
    torch.manual_seed(0)
    outputs, targets = torch.randn(6, 3, 1), torch.randn(6)
    singles = torch.stack(
        [F.mse_loss(outputs[:, member, 0], targets, reduction="none") for member in range(3)]
    )
    torch.testing.assert_close(squared_error(outputs[:, 0], targets), singles[0])
    torch.testing.assert_close(squared_error(outputs, targets), singles.mean(0))


@pytest.mark.parametrize(
    ("loss", "targets"),
    [(binary_cross_entropy, torch.ones(50, 1)), (squared_error, torch.ones(50))],
)
def test_half_precision_outputs_give_a_float32_loss(loss, targets) -> None:
    torch.manual_seed(0)
    outputs = torch.randn(50, 1, dtype=torch.bfloat16)
    losses = loss(outputs, targets)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, loss(outputs.float(), targets))
