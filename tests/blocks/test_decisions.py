"""Temperature and decision rules against scipy, closed forms and known populations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import Tensor

from mlexpert.blocks.decisions.argmax import Argmax
from mlexpert.blocks.decisions.prior_adjusted import PriorAdjusted
from mlexpert.blocks.decisions.temperature import fit_temperature, log_probabilities
from mlexpert.blocks.decisions.tuning import MIN_ROWS_PER_CLASS


def draw(num_rows: int, num_classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits whose softmax is the truth, and targets drawn from it."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(num_rows, num_classes, generator=generator, dtype=torch.float64)
    targets = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    return logits, targets


@pytest.mark.parametrize("true", [0.3, 1.0, 4.0])
def test_temperature_equals_the_minimum_that_scipy_finds(true: float) -> None:
    logits, targets = draw(2000, 5)
    scaled = (logits * true).numpy()

    def nll(log_t: float) -> float:
        return -log_softmax(scaled / np.exp(log_t), axis=1)[np.arange(2000), targets.numpy()].mean()

    expected = np.exp(
        minimize_scalar(nll, bounds=(-3, 3), method="bounded", options={"xatol": 1e-8}).x
    )
    found = fit_temperature(torch.from_numpy(scaled), targets)
    assert found == pytest.approx(expected, rel=2e-3)  # the prior on log T moves it by about 1 / N
    assert found == pytest.approx(true, rel=0.1)


def test_temperature_does_not_vanish_on_rows_that_are_all_right() -> None:
    targets = torch.arange(4).repeat(10)
    logits = 3.0 * torch.eye(4)[targets]
    assert 0.1 < fit_temperature(logits, targets) < 1.0
    assert fit_temperature(logits[:0], targets[:0]) == 1.0
    # Random labels: nothing to be confident of, and the search ends inside its bounds.
    assert 1.0 < fit_temperature(50 * logits, targets.flip(0)) <= 50.001


def test_temperature_refuses_logits_that_are_not_finite() -> None:
    with pytest.raises(ValueError, match="NaN"):
        fit_temperature(torch.tensor([[0.0, float("nan")]]), torch.tensor([0]))


def test_members_of_an_ensemble_average_their_probabilities() -> None:
    logits = torch.randn(6, 3, 4)
    expected = (logits / 2.0).softmax(-1).mean(1)
    torch.testing.assert_close(log_probabilities(logits, 2.0).exp(), expected)
    # Far from zero, where a sum of exponentials would underflow.
    assert torch.isfinite(log_probabilities(torch.tensor([[[0.0, -500.0]] * 2]))).all()


@pytest.mark.parametrize("rule", [PriorAdjusted, Argmax])
def test_probabilities_are_those_of_the_natural_prior(rule) -> None:
    logits, targets = draw(3000, 3)
    decide = rule([700, 200, 100])
    decide.fit(3 * logits, targets)
    probabilities = decide.probabilities(3 * logits)
    torch.testing.assert_close(probabilities, logits.softmax(1), atol=0.05, rtol=0)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(3000, dtype=torch.float64))


def test_decision_is_probability_over_prior() -> None:
    decide = PriorAdjusted([60, 30, 10])
    logits = torch.randn(200, 3)
    prior = torch.tensor([0.6, 0.3, 0.1])
    assert torch.equal(decide.decide(logits), (logits.softmax(1) / prior).argmax(1))
    decide.tau.fill_(0)
    assert torch.equal(decide.decide(logits), logits.argmax(1))
    assert torch.equal(Argmax([60, 30, 10]).decide(logits), logits.argmax(1))


def gaussian_mixture(counts: list[int], seed: int, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    """Bayes-optimal logits of classes at the corners of a simplex, their prior that of `counts`."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    corners = 1.5 * torch.eye(len(counts))
    points = corners[targets] + spread * torch.randn(len(targets), len(counts), generator=generator)
    density = -((points[:, None] - corners) ** 2).sum(2) / (2 * spread**2)
    return density + (torch.tensor(counts) / sum(counts)).log(), targets


def balanced_accuracy(decisions: Tensor, targets: Tensor) -> float:
    return float(
        torch.stack(
            [(decisions[targets == k] == k).float().mean() for k in targets.unique()]
        ).mean()
    )


def test_adjustment_lifts_balanced_accuracy_where_the_probabilities_are_right() -> None:
    counts = [4000, 400, 60]
    logits, targets = gaussian_mixture(counts, seed=0)
    adjusted, plain = PriorAdjusted(counts), Argmax(counts)
    chosen = adjusted.fit(logits, targets)
    plain.fit(logits, targets)
    fresh, fresh_targets = gaussian_mixture(counts, seed=1)
    gain = balanced_accuracy(adjusted.decide(fresh), fresh_targets) - balanced_accuracy(
        plain.decide(fresh), fresh_targets
    )
    assert gain > 0.1
    assert chosen.tau == 1.0  # optimal in the population, so nothing is better by more than noise
    assert "standard error" in chosen.rule


def test_few_validation_rows_keep_tau_at_one() -> None:
    # The training prior is far off, so every grid search would choose tau = 0.
    decide = PriorAdjusted([10_000, 10])
    logits, targets = gaussian_mixture([300, MIN_ROWS_PER_CLASS - 1], seed=0)
    chosen = decide.fit(logits - torch.tensor([300.0, 49.0]).log(), targets)
    assert chosen.tau == 1.0
    assert chosen.rarest_rows == MIN_ROWS_PER_CLASS - 1
    assert str(MIN_ROWS_PER_CLASS - 1) in chosen.rule


def test_tau_is_tuned_where_rows_suffice_and_the_gain_is_real() -> None:
    decide = PriorAdjusted([10_000, 10])
    logits, targets = gaussian_mixture(
        [300, 300], seed=0
    )  # equal prior: the correction would only hurt
    chosen = decide.fit(logits, targets)
    assert chosen.tau == 0.0 == decide.tau.item()
    assert "0." in chosen.rule
    brute = {}
    for tau in np.arange(0, 2.25, 0.25):
        decide.tau.fill_(tau)
        brute[tau] = balanced_accuracy(decide.decide(logits), targets)
    assert brute[0.0] == max(brute.values())


def test_absent_class_in_validation_keeps_tau_at_one() -> None:
    logits, targets = gaussian_mixture([200, 200], seed=0)
    chosen = PriorAdjusted([200, 200, 5]).fit(torch.cat([logits, logits[:, :1] - 5], 1), targets)
    assert (chosen.tau, chosen.rarest_rows) == (1.0, 0)


def test_what_was_fitted_is_in_the_state() -> None:
    logits, targets = draw(500, 3)
    fitted = PriorAdjusted([5, 3, 2])
    fitted.fit(2 * logits, targets)
    restored = PriorAdjusted([1, 1, 1])
    restored.load_state_dict(fitted.state_dict())
    assert torch.equal(restored.decide(logits), fitted.decide(logits))
    assert torch.equal(restored.probabilities(logits), fitted.probabilities(logits))
    assert not list(fitted.parameters())


def test_a_class_without_training_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one training row"):
        PriorAdjusted([3, 0])


def test_weights_count_as_so_many_rows() -> None:
    logits, targets = gaussian_mixture([300, 120, 60], seed=3)
    copies = 1 + torch.arange(len(targets)) % 3
    many, many_targets = logits.repeat_interleave(copies, 0), targets.repeat_interleave(copies)
    # The prior on log T weighs less than one row, and there are fewer of these.
    assert fit_temperature(3 * logits, targets, copies.double()) == pytest.approx(
        fit_temperature(3 * many, many_targets), rel=0.01
    )
    by_weight, by_row = PriorAdjusted([10_000, 10, 10]), PriorAdjusted([10_000, 10, 10])
    chosen = by_weight.fit(logits, targets, copies.double())
    assert chosen.tau == by_row.fit(many, many_targets).tau != 1.0
    assert chosen.rarest_rows == 60  # a row is one row, whatever it weighs


def test_rows_of_weight_zero_are_no_rows() -> None:
    logits, targets = gaussian_mixture([200, 60], seed=1)
    weights = torch.ones(260)
    weights[::2] = 0.0
    for rule in (PriorAdjusted([200, 60]), Argmax([200, 60])):
        with_zeros = rule.fit(3 * logits, targets, 7 * weights)
        without = rule.fit(3 * logits[1::2], targets[1::2])
        assert with_zeros.temperature == pytest.approx(without.temperature, rel=1e-5)
    assert PriorAdjusted([200, 60]).fit(logits, targets, weights).rarest_rows == 30
    assert fit_temperature(logits, targets, 0 * weights) == 1.0


def test_class_weights_move_decisions_and_leave_probabilities_alone() -> None:
    natural, targets = draw(4000, 3)
    weight = torch.tensor([0.3, 1.0, 9.0])
    weighted = natural + weight.log()  # what a model says that was trained with these weights
    decide = Argmax([1, 1, 1], class_weight=weight)
    torch.testing.assert_close(decide.probabilities(weighted).float(), natural.softmax(1).float())
    assert torch.equal(decide.decide(weighted), (natural.softmax(1) * weight).argmax(1))
    members = weighted.unsqueeze(1).expand(-1, 4, -1)
    torch.testing.assert_close(decide.probabilities(members), decide.probabilities(weighted))
    # An overconfident model: its temperature is judged by the natural probabilities.
    chosen = decide.fit(2.5 * weighted, targets)
    assert chosen.temperature == pytest.approx(2.5, rel=0.1)
    assert "class-weighted" in chosen.rule
    torch.testing.assert_close(
        decide.probabilities(2.5 * weighted), natural.softmax(1), atol=0.05, rtol=0
    )


def test_without_class_weights_the_state_is_that_of_older_models() -> None:
    assert set(Argmax([3, 2]).state_dict()) == {"log_prior", "tau", "temperature"}
    fitted = Argmax([3, 2], class_weight=torch.tensor([1.0, 2.0]))
    restored = Argmax([3, 2], class_weight=torch.tensor([1.0, 1.0]))
    restored.load_state_dict(fitted.state_dict())
    assert torch.equal(restored.probabilities(torch.eye(2)), fitted.probabilities(torch.eye(2)))
