"""Decisions by F1, by a held recall or precision, and by cost: against brute force and sklearn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, precision_recall_curve, precision_score, recall_score
from torch import Tensor

from mlexpert.blocks.decisions.cost_sensitive import CostSensitive
from mlexpert.blocks.decisions.decision import DecisionRule
from mlexpert.blocks.decisions.macro_f1 import MacroF1
from mlexpert.blocks.decisions.prior_adjusted import MIN_ROWS_PER_CLASS, TAU_GRID
from mlexpert.blocks.decisions.threshold import Threshold


def draw(counts: list[int], seed: int = 0, apart: float = 2.0) -> tuple[Tensor, Tensor]:
    """True logits of normal points about the corners of a simplex, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    corners = apart * torch.eye(len(counts))
    x = corners[targets] + torch.randn(len(targets), len(counts), generator=generator)
    distance = ((x[:, None] - corners) ** 2).sum(2)
    return (torch.tensor(counts) / sum(counts)).log() - distance / 2, targets


def every_threshold(
    rule: Threshold, logits: Tensor, targets: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall (P,) of all thresholds on the probability, by sklearn."""
    p = rule.probabilities(logits)[:, rule.positive].numpy()
    precision, recall, _ = precision_recall_curve(targets.numpy() == rule.positive, p)
    return precision[:-1], recall[:-1]  # the last one decides for no row


@pytest.mark.parametrize("counts", [[190, 60], [60, 190]])
def test_the_f1_threshold_is_the_best_that_brute_force_finds(counts: list[int]) -> None:
    logits, targets = draw(counts, seed=1)
    rule = Threshold(counts, "f1")
    chosen = rule.fit(3 * logits, targets)
    positive = int(np.argmin(counts))
    share = {"pos_label": positive}
    precision, recall = every_threshold(rule, 3 * logits, targets)
    best = (2 * precision * recall / (precision + recall).clip(1e-9)).max()
    assert f1_score(targets, rule.decide(3 * logits), **share) == pytest.approx(best)
    assert chosen.temperature == pytest.approx(3.0, rel=0.4)
    assert 0.2 < chosen.threshold < 0.7 and "above that of the prior" in chosen.rule


def test_weights_count_as_rows() -> None:
    logits, targets = draw([400, 100])
    copies = 1 + torch.arange(500) % 3
    many, many_targets = logits.repeat_interleave(copies, 0), targets.repeat_interleave(copies)
    by_weight, by_row = Threshold([400, 100], "f1"), Threshold([400, 100], "f1")
    by_weight.fit(logits, targets, copies.double())
    by_row.fit(many, many_targets)
    assert torch.equal(by_weight.decide(logits), by_row.decide(logits))
    # Rows of weight 0 are no rows: too few are left.
    half = (torch.arange(500) % 4 == 0).double()
    assert "25 validation rows" in by_weight.fit(logits, targets, half).rule


@pytest.mark.parametrize("metric", ["precision_at_recall", "recall_at_precision"])
def test_what_is_asked_for_is_held_and_the_rest_is_the_best(metric: str) -> None:
    logits, targets = draw([190, 60])
    rule = Threshold([190, 60], metric, at_least=0.9)
    chosen = rule.fit(logits, targets)
    scores = every_threshold(rule, logits, targets)
    held = 1 if metric == "precision_at_recall" else 0
    best = scores[1 - held][scores[held] >= 0.9].max()
    decided = rule.decide(logits)
    found = precision_score(targets, decided), recall_score(targets, decided)
    assert found[held] >= 0.9
    assert found[1 - held] == pytest.approx(best)
    assert "at least 0.9" in chosen.rule


def test_a_precision_that_is_out_of_reach_is_said_to_be() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.repeat_interleave(torch.arange(2), torch.tensor([900, 100]))
    logits = torch.randn(1000, 2, generator=generator)
    logits[0] = torch.tensor([-9.0, 9.0])  # the surest row is wrong
    chosen = Threshold([900, 100], "recall_at_precision", at_least=0.99).fit(logits, targets)
    assert "no threshold reaches a precision of 0.99" in chosen.rule


@pytest.mark.parametrize("metric", ["f1", "precision_at_recall", "recall_at_precision"])
def test_few_rows_of_the_rarer_class_keep_the_prior(metric: str) -> None:
    counts = [300, MIN_ROWS_PER_CLASS - 1]
    logits, targets = draw(counts)
    rule = Threshold([90, 10], metric, at_least=None if metric == "f1" else 0.8)
    chosen = rule.fit(logits, targets)
    assert chosen.threshold == pytest.approx(0.1)
    assert f"{MIN_ROWS_PER_CLASS - 1} validation rows" in chosen.rule
    p = rule.probabilities(logits)[:, 1]
    assert torch.equal(rule.decide(logits), (p >= 0.1).long())


def test_a_gain_within_its_error_keeps_the_prior() -> None:
    # Even classes: the prior, one half, is about the best threshold for F1.
    logits, targets = draw([150, 150], seed=1, apart=4.0)
    chosen = Threshold([150, 150], "f1").fit(logits, targets)
    assert chosen.threshold == pytest.approx(0.5) and "standard error" in chosen.rule


@pytest.mark.parametrize("log_weight", [None, torch.tensor([0.0, math.log(9.0)])])
def test_probabilities_and_thresholds_are_natural(log_weight: Tensor | None) -> None:
    logits, targets = draw([1800, 200])
    said = logits if log_weight is None else logits + log_weight
    members = said[:, None].expand(-1, 3, -1)
    rule = Threshold([1800, 200], "f1", log_weight=log_weight)
    chosen = rule.fit(members, targets)
    torch.testing.assert_close(rule.probabilities(members), logits.softmax(1), atol=0.04, rtol=0)
    alone = Threshold([1800, 200], "f1", log_weight=log_weight)
    assert alone.fit(said, targets).threshold == pytest.approx(chosen.threshold, rel=1e-3)
    assert chosen.strength is None if log_weight is None else chosen.strength > 0.7


def test_macro_f1_takes_the_best_tau_of_the_grid() -> None:
    counts = [6000, 600, 60]
    logits, targets = draw(counts, apart=1.7)
    rule = MacroF1(counts)
    chosen = rule.fit(logits, targets)

    def score(tau: float) -> float:
        rule.tau.fill_(tau)
        return float(f1_score(targets, rule.decide(logits), average="macro"))

    found = {tau: score(tau) for tau in TAU_GRID}
    assert found[chosen.tau] == max(found.values()) > found[1.0]
    assert "macro F1" in chosen.rule
    few = MacroF1(counts).fit(logits[:-20], targets[:-20])
    assert few.tau == 1.0 and "40 validation rows" in few.rule
    even, even_targets = draw([100, 100, 100], apart=4.0)
    assert "standard error" in MacroF1([100, 100, 100]).fit(even, even_targets).rule
    with pytest.raises(ValueError, match="at least one training row"):
        MacroF1([3, 0])


def test_the_cheapest_decision_is_that_of_all_that_there_are() -> None:
    logits, targets = draw([300, 200, 100], apart=1.0)
    cost = torch.tensor([[0.0, 2.0, 1.0], [4.0, 0.0, 1.0], [20.0, 3.0, 0.0]])
    rule = CostSensitive(cost)
    assert rule.fit(logits, targets).rarest_rows == 100
    p = rule.probabilities(logits)
    expected = torch.stack([(p * cost[:, j]).sum(1) for j in range(3)], 1)
    assert torch.equal(rule.decide(logits), expected.argmin(1))

    def paid(decisions: Tensor) -> float:
        return float(cost[targets, decisions].mean())

    assert paid(rule.decide(logits)) < paid(p.argmax(1)) - 0.5
    # Two classes: from a probability of c01 / (c01 + c10) on (Elkan 2001, equation 2).
    two = CostSensitive(torch.tensor([[0.0, 1.0], [9.0, 0.0]]))
    grid = torch.linspace(0.005, 0.995, 100)
    said = torch.stack([1 - grid, grid], 1).log()
    assert torch.equal(two.decide(said), (grid >= 0.1).long())
    even = CostSensitive(1 - torch.eye(3))
    assert torch.equal(even.decide(logits), logits.argmax(1))
    assert even.fit(logits, targets).rule == "the most probable class"


@pytest.mark.parametrize(
    "cost", [[[0.0, 1.0]], [[0.0, -1.0], [1.0, 0.0]], [[0.0, math.nan], [1, 0]]]
)
def test_costs_that_are_none_are_refused(cost: list) -> None:
    with pytest.raises(ValueError, match="costs"):
        CostSensitive(torch.tensor(cost))


def test_a_threshold_needs_two_classes_and_what_goes_with_its_metric() -> None:
    with pytest.raises(ValueError, match="between two classes"):
        Threshold([1, 2, 3], "f1")
    with pytest.raises(ValueError, match="does not go with"):
        Threshold([1, 2], "precision_at_recall")


@pytest.mark.parametrize(
    "rule",
    [
        Threshold([900, 100], "f1", log_weight=torch.tensor([0.0, 1.0])),
        MacroF1([900, 100], log_weight=torch.tensor([0.0, 1.0])),
        CostSensitive(torch.tensor([[0.0, 1.0], [3.0, 0.0]]), torch.tensor([0.0, 1.0])),
    ],
)
def test_what_was_fitted_is_in_the_state(rule: DecisionRule) -> None:
    logits, targets = draw([900, 100])
    said = 2 * (logits + 0.8 * torch.tensor([0.0, 1.0]))
    restored = rule.unfitted()
    rule.fit(said, targets)
    assert not torch.equal(restored.probabilities(said), rule.probabilities(said))
    torch.testing.assert_close(
        restored.probabilities(said), (said - torch.tensor([0.0, 1.0])).softmax(1)
    )
    restored.load_state_dict(rule.state_dict())
    assert torch.equal(restored.decide(said), rule.decide(said))
    assert torch.equal(restored.probabilities(said), rule.probabilities(said))
