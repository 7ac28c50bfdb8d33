"""Tau-normalised decisions against the paper's own computation from features."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from mlexpert.blocks.decisions.tau_normalized import TAU, TauNormalized
from mlexpert.blocks.decisions.tuning import tuned


def head(members: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and biases that are centred over the classes, with unequal norms."""
    torch.manual_seed(0)
    shape = (4, 6) if members is None else (members, 4, 6)
    weight = torch.randn(shape, dtype=torch.float64) * torch.tensor([[3.0], [1.5], [1.0], [0.3]])
    bias = torch.randn(shape[:-1], dtype=torch.float64)
    return weight - weight.mean(-2, keepdim=True), bias - bias.mean(-1, keepdim=True)


def test_decisions_are_those_of_normalised_weights_without_bias() -> None:
    weight, bias = head()
    features = torch.randn(200, 6, dtype=torch.float64)
    rule = TauNormalized(4)
    rule.read(weight, bias)
    normalised = weight / weight.norm(dim=1, keepdim=True) ** TAU
    expected = (features @ normalised.T).argmax(dim=1)
    logits = features @ weight.T + bias
    assert torch.equal(rule.decide(logits), expected)
    assert not torch.equal(rule.decide(logits), logits.argmax(dim=1))
    # What a softmax does not see, the rule does not see: the same number added to all logits, the
    # same vector to all weights.
    assert torch.equal(rule.decide(logits + torch.randn(200, 1)), expected)
    moved = TauNormalized(4)
    moved.read(weight + torch.randn(6), bias + 3.0)
    torch.testing.assert_close(moved.norm, rule.norm)
    torch.testing.assert_close(moved.bias, rule.bias, atol=1e-6, rtol=0)


def test_probabilities_know_nothing_of_the_head() -> None:
    rule = TauNormalized(4)
    rule.read(*head())
    logits = torch.randn(5, 4)
    torch.testing.assert_close(rule.probabilities(logits), logits.softmax(dim=1))


def test_members_of_an_ensemble_have_their_mean_norms() -> None:
    weight, bias = head(members=3)
    rule = TauNormalized(4)
    rule.read(weight, bias)
    torch.testing.assert_close(rule.norm, weight.norm(dim=2).mean(dim=0).float())
    torch.testing.assert_close(rule.bias, bias.mean(dim=0).float())
    one = TauNormalized(4)
    one.read(weight[0], bias[0])
    same = torch.randn(9, 1, 4)
    assert torch.equal(one.decide(same.expand(-1, 3, -1)), one.decide(same[:, 0]))


def test_a_joint_rule_decides_on_calibrated_probabilities_as_its_members_on_logits() -> None:
    weight, bias = head()
    features = torch.randn(200, 6, dtype=torch.float64)
    logits = features @ weight.T + bias
    rule = TauNormalized(4)
    rule.read(weight, bias)
    rule.calibration.temperature.fill_(2.5)
    said = rule.probabilities(logits).log()
    assert torch.equal(TauNormalized.joint([rule]).decide(said), rule.decide(logits))
    assert not torch.equal(rule.decide(said), rule.decide(logits))  # the bias has another unit

    other = TauNormalized(4)
    other.read(2 * weight, -bias)
    joint = TauNormalized.joint([rule, other])
    torch.testing.assert_close(joint.norm, 1.2 * rule.norm)  # (1 / 2.5 + 2) / 2
    torch.testing.assert_close(joint.bias, -0.3 * rule.bias)  # (1 / 2.5 - 1) / 2
    assert float(rule.calibration.temperature) == 2.5  # and these stay as they were


def test_tau_is_tuned_where_every_class_has_rows_enough() -> None:
    """Rows whose classes are told by features alone, and logits that lean to long weights."""
    torch.manual_seed(3)
    directions = torch.linalg.qr(torch.randn(6, 6))[0][:4]
    weight = directions * torch.tensor([[8.0], [4.0], [1.0], [0.5]])
    targets = torch.arange(4).repeat_interleave(torch.tensor([400, 200, 60, 60]))
    features = directions[targets] + 0.35 * torch.randn(len(targets), 6)
    logits = features @ weight.T
    rule = TauNormalized(4)
    rule.read(weight, torch.zeros(4))
    before = balanced_accuracy_score(targets, rule.decide(logits))
    decision = rule.fit(logits, targets)
    after = balanced_accuracy_score(targets, rule.decide(logits))
    assert f"to the power of {float(rule.tau):g}:" in decision.rule and decision.rarest_rows == 60
    assert float(rule.tau) != pytest.approx(TAU) and after > before
    assert f"{after - before:.3f}" in decision.rule

    few = torch.cat([torch.arange(0, 600), torch.arange(600, 720, 3)])
    decision = rule.fit(logits[few], targets[few])
    assert float(rule.tau) == pytest.approx(TAU) and "20 validation rows" in decision.rule
    assert decision.tau == 0, "the correction by the training prior, of which there is none"
    nothing = torch.zeros(len(targets))
    nothing[few] = 1.0  # rows that weigh nothing are no rows
    assert rule.fit(logits, targets, nothing).rarest_rows == 20


def test_a_value_is_left_only_for_a_gain_above_its_standard_error() -> None:
    targets = torch.arange(2).repeat_interleave(100)
    default = targets.clone()
    default[:50] = 1  # half of class 0 wrong: balanced accuracy 0.75
    little, much = default.clone(), default.clone()
    little[48:50], little[99] = 0, 1  # two hits more and one less: mean 0.01, error 0.017
    much[:30] = 0

    def choose(better: torch.Tensor) -> tuple[float, float]:
        return tuned({0.0: better, 1.0: default}, targets, default=1.0, num_classes=2)

    assert choose(much) == pytest.approx((0.0, 0.15))
    assert choose(little) == choose(default) == (1.0, 0.0)
