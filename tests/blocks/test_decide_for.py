"""Decisions by F1, by a held recall or precision, and by cost: against brute force and sklearn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, precision_recall_curve, precision_score, recall_score
from torch import Tensor

from mlexpert.blocks.decisions.calibration import EXPECTED_STRENGTH
from mlexpert.blocks.decisions.cost_sensitive import CostSensitive
from mlexpert.blocks.decisions.decision import DecisionRule
from mlexpert.blocks.decisions.macro_f1 import MacroF1
from mlexpert.blocks.decisions.prior_adjusted import TAU_GRID
from mlexpert.blocks.decisions.threshold import Threshold
from mlexpert.blocks.decisions.tuning import MIN_ROWS_PER_CLASS


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
def test_with_wrong_probabilities_the_f1_threshold_is_the_best_of_all(counts: list[int]) -> None:
    logits, targets = draw(counts, seed=1)
    positive = int(np.argmin(counts))
    logits[:, positive] += 3.0  # claimed far too often, which no temperature mends
    rule = Threshold(counts, "f1")
    chosen = rule.fit(logits, targets)
    precision, recall = every_threshold(rule, logits, targets)
    best = (2 * precision * recall / (precision + recall).clip(1e-9)).max()
    decided = rule.decide(logits)
    assert f1_score(targets, decided, pos_label=positive) == pytest.approx(best)
    assert chosen.threshold > 0.6 and "F1 on validation is" in chosen.rule


@pytest.mark.parametrize("counts", [[200, 60], [400, 40]])
def test_with_right_probabilities_the_f1_threshold_is_half_of_the_best_f1(
    counts: list[int],
) -> None:
    # Lipton et al. 2014, theorem 1. Labels alone choose thresholds that stray by .1 here.
    many, classes = draw([100 * count for count in counts], seed=9)
    p = many.softmax(1)[:, 1].sort(descending=True).values
    best = (2 * p.cumsum(0) / (1 + torch.arange(len(p)) + p.sum())).max().item()
    found = []
    for seed in range(8):
        rule = Threshold(counts, "f1")
        chosen = rule.fit(*draw(counts, seed=seed))
        found.append(chosen.threshold)
        assert f1_score(classes, rule.decide(many)) > best - 0.03
    assert np.mean(found) == pytest.approx(best / 2, abs=0.03)
    assert np.std(found) < 0.06


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


@pytest.mark.parametrize("metric", ["precision_at_recall", "recall_at_precision"])
def test_few_rows_of_the_rarer_class_keep_the_prior(metric: str) -> None:
    counts = [300, MIN_ROWS_PER_CLASS - 1]
    logits, targets = draw(counts)
    rule = Threshold([90, 10], metric, at_least=0.8)
    chosen = rule.fit(logits, targets)
    assert chosen.threshold == pytest.approx(0.1)
    assert f"{MIN_ROWS_PER_CLASS - 1} validation rows" in chosen.rule
    p = rule.probabilities(logits)[:, 1]
    assert torch.equal(rule.decide(logits), (p >= 0.1).long())


def test_few_rows_of_the_rarer_class_leave_f1_to_the_probabilities() -> None:
    logits, targets = draw([300, MIN_ROWS_PER_CLASS - 1])
    rule = Threshold([90, 10], "f1")
    chosen = rule.fit(logits, targets)
    assert f"{MIN_ROWS_PER_CLASS - 1} validation rows" in chosen.rule
    p, decided = rule.probabilities(logits)[:, 1], rule.decide(logits)
    promised = 2 * p[decided == 1].sum() / (decided.sum() + p.sum())
    assert chosen.threshold == pytest.approx(promised.item() / 2, abs=0.03)
    # Whose labels are whose is not looked at.
    again = Threshold([90, 10], "f1")
    again.calibration.load_state_dict(rule.calibration.state_dict())
    again.calibration.fit = lambda *_: None  # type: ignore[method-assign]
    assert again.fit(logits, targets.flip(0)).threshold == chosen.threshold


def test_a_gain_within_its_error_keeps_the_prior() -> None:
    # Precision is 1 at half the recall: the prior's threshold is as good as any.
    logits, targets = draw([150, 150], seed=1, apart=6.0)
    chosen = Threshold([150, 150], "precision_at_recall", at_least=0.5).fit(logits, targets)
    assert chosen.threshold == pytest.approx(0.5) and "a standard error" in chosen.rule


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


@pytest.mark.parametrize("claimed", [0.0, 4.0])
def test_macro_f1_takes_the_best_tau_of_the_grid(claimed: float) -> None:
    counts = [6000, 600, 60]
    logits, targets = draw(counts, apart=1.7)
    logits[:, 2] += claimed  # of wrong probabilities, labels choose
    rule = MacroF1(counts)
    chosen = rule.fit(logits, targets)

    def score(tau: float) -> float:
        rule.tau.fill_(tau)
        return float(f1_score(targets, rule.decide(logits), average="macro"))

    found = {tau: score(tau) for tau in TAU_GRID}
    if claimed:
        assert found[chosen.tau] == max(found.values())
        assert "macro F1 on validation is" in chosen.rule
    else:
        assert found[chosen.tau] > max(found.values()) - 0.02 > found[1.0]
        assert "2 standard errors" in chosen.rule


def test_macro_f1_of_few_rows_is_that_which_probabilities_promise() -> None:
    counts = [600, 100, 20]
    logits, targets = draw(counts, apart=2.0)
    rule = MacroF1(counts)
    chosen = rule.fit(logits, targets)
    assert "20 validation rows" in chosen.rule and "if the probabilities are right" in chosen.rule
    p = rule.probabilities(logits).numpy()

    def promised(tau: float) -> float:  # by sklearn: each row is of each class, by its share
        rule.tau.fill_(tau)
        decided = np.repeat(rule.decide(logits).numpy(), 3)
        return float(
            f1_score(
                np.tile(np.arange(3), len(p)), decided, average="macro", sample_weight=p.ravel()
            )
        )

    found = {tau: promised(tau) for tau in TAU_GRID}
    assert found[chosen.tau] == max(found.values()) > found[1.0] + 0.05
    # Rows by weight are rows.
    copies = 1 + torch.arange(len(targets)) % 2
    again = MacroF1(counts).fit(logits, targets, copies.double())
    many = logits.repeat_interleave(copies, 0), targets.repeat_interleave(copies)
    assert again.tau == MacroF1(counts).fit(*many).tau
    assert MacroF1(counts).fit(logits[:0], targets[:0]).tau == 1.0
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
        restored.probabilities(said), (said - torch.tensor([0.0, EXPECTED_STRENGTH])).softmax(1)
    )
    restored.load_state_dict(rule.state_dict())
    assert torch.equal(restored.decide(said), rule.decide(said))
    assert torch.equal(restored.probabilities(said), rule.probabilities(said))
