"""The divergence against torch's."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mlexpert.blocks.losses.attacked_divergence import attacked_divergence, log_probabilities_of


def test_is_torchs_divergence() -> None:
    clean, moved = torch.randn(2, 6, 4)
    wanted = F.kl_div(moved.log_softmax(1), clean.softmax(1), reduction="none").sum(dim=1)
    torch.testing.assert_close(attacked_divergence(log_probabilities_of(clean), moved), wanted)


def test_of_members_it_is_the_mean() -> None:
    clean, moved = torch.randn(2, 6, 3, 4)
    each = [attacked_divergence(log_probabilities_of(clean[:, m]), moved[:, m]) for m in range(3)]
    found = attacked_divergence(log_probabilities_of(clean), moved)
    torch.testing.assert_close(found, torch.stack(each).mean(dim=0))


def test_half_precision_is_widened() -> None:
    logits = torch.tensor([[20.0, 0.0]], dtype=torch.bfloat16)
    assert log_probabilities_of(logits).dtype == torch.float32
