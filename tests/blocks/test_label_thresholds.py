"""Thresholds of labels against sklearn and against known populations."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import f1_score
from torch import Tensor

from mlexpert.blocks.decisions.label_thresholds import (
    GRID,
    MIN_ROWS_PER_LABEL,
    LabelThresholds,
    fit_label_temperature,
    label_log_likelihood,
)
from mlexpert.blocks.losses.binary_cross_entropy import binary_cross_entropy


def draw(num_rows: int, shift: list[float], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits whose sigmoid is the truth, lower for labels of a negative shift, and labels."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(num_rows, len(shift), generator=generator) + torch.tensor(shift)
    return logits, torch.bernoulli(logits.sigmoid(), generator=generator)


def test_likelihood_is_that_of_the_probabilities() -> None:
    logits, targets = draw(20, [0.0, -1.0])
    expected = -binary_cross_entropy(logits / 2, targets)
    torch.testing.assert_close(label_log_likelihood(logits, targets, 2.0), expected)
    members = torch.stack([logits, -logits, 3 * logits], 1)
    decide = LabelThresholds(2)
    decide.temperature.fill_(2.0)
    p = decide.probabilities(members)
    torch.testing.assert_close(p, (members / 2).sigmoid().mean(1))
    expected = torch.where(targets > 0, p, 1 - p).log().mean(1)
    torch.testing.assert_close(label_log_likelihood(members, targets, 2.0), expected)
    far = torch.tensor([[[1e4], [1e4]]])
    assert label_log_likelihood(far, torch.zeros(1, 1)) == -1e4


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_temperature_finds_what_was_multiplied(true: float) -> None:
    logits, targets = draw(2000, [0.0, -1.0, 1.0])
    assert fit_label_temperature(true * logits, targets) == pytest.approx(true, rel=0.1)
    decide = LabelThresholds(3)
    decide.fit(true * logits, targets)
    torch.testing.assert_close(
        decide.probabilities(true * logits), logits.sigmoid(), atol=0.05, rtol=0
    )


def test_threshold_is_the_best_of_the_grid_where_the_gain_is_real() -> None:
    logits, targets = draw(3000, [0.0, -4.0])
    decide = LabelThresholds(2)
    chosen = decide.fit(logits, targets)
    p = decide.probabilities(logits)
    scores = [f1_score(targets[:, 1], p[:, 1] >= threshold) for threshold in GRID]
    assert decide.thresholds[1] == pytest.approx(GRID[scores.index(max(scores))])
    assert decide.thresholds[1] < 0.45  # for a rare label F1 is best below one half
    assert chosen.thresholds == pytest.approx(decide.thresholds.tolist())  # the report shows them
    assert "but for" in chosen.rule and chosen.rarest_rows == int(targets[:, 1].sum())
    fresh, fresh_targets = draw(3000, [0.0, -4.0], seed=1)
    tuned = f1_score(fresh_targets[:, 1], decide.decide(fresh)[:, 1])
    assert tuned > f1_score(fresh_targets[:, 1], fresh[:, 1].sigmoid() >= 0.5)


def test_threshold_stays_where_the_gain_is_noise() -> None:
    # Right and wrong are far apart: any threshold between is as good.
    targets = (torch.arange(400) % 2).float().unsqueeze(1)
    decide = LabelThresholds(1)
    decide.fit(8 * targets - 4, targets)
    assert decide.thresholds.tolist() == [0.5]


def test_few_rows_of_a_label_keep_one_half() -> None:
    logits, targets = draw(3000, [-4.0])
    few = targets[:, 0].cumsum(0) < MIN_ROWS_PER_LABEL
    decide = LabelThresholds(1)
    chosen = decide.fit(logits[few], targets[few])
    assert decide.thresholds.tolist() == [0.5]
    assert chosen.rarest_rows == MIN_ROWS_PER_LABEL - 1
    # One row that counts more is still one row.
    assert decide.fit(logits[few], targets[few], torch.full((int(few.sum()),), 5.0)).tau == 0.0
    assert decide.thresholds.tolist() == [0.5]


def test_weights_count_as_so_many_rows() -> None:
    logits, targets = draw(1500, [-3.0])
    copies = 1 + torch.arange(1500) % 3
    by_weight, by_row = LabelThresholds(1), LabelThresholds(1)
    first = by_weight.fit(2 * logits, targets, copies.double())
    second = by_row.fit(
        2 * logits.repeat_interleave(copies, 0), targets.repeat_interleave(copies, 0)
    )
    assert first.temperature == pytest.approx(second.temperature, rel=0.01)
    assert by_weight.thresholds[0] == by_row.thresholds[0] != 0.5


def test_a_label_that_never_holds_is_no_obstacle() -> None:
    decide = LabelThresholds(2)
    logits = torch.tensor([[2.0, -2.0], [-2.0, -3.0]])
    chosen = decide.fit(logits, torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert chosen.rarest_rows == 0
    assert decide.decide(logits).tolist() == [[True, False], [False, False]]
