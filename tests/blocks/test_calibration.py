"""Natural probabilities of rebalanced models, against known posteriors and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from mlexpert.blocks.decisions.argmax import Argmax
from mlexpert.blocks.decisions.calibration import (
    EXPECTED_STRENGTH,
    STRENGTH_DEVIATION,
    Calibration,
    fit_calibration,
)
from mlexpert.blocks.decisions.rebalanced import Rebalanced
from mlexpert.blocks.decisions.temperature import fit_temperature, log_probabilities
from mlexpert.blocks.scores import classification_scores

COUNTS = [2000, 300, 60]
PRIOR = torch.tensor(COUNTS) / sum(COUNTS)
LOG_WEIGHT = -PRIOR.log()


def points(counts: list[int], seed: int) -> tuple[Tensor, Tensor]:
    """Normal points about the corners of a triangle, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    noise = torch.randn(len(targets), 3, generator=generator)
    return 1.5 * torch.eye(3)[targets] + noise, targets


def bayes(x: Tensor) -> Tensor:
    """The logarithm of the true posterior under the natural prior."""
    distance = ((x[:, None] - 1.5 * torch.eye(3)) ** 2).sum(2)
    return (PRIOR.log() - distance / 2).log_softmax(1)


def brier(p: Tensor, targets: Tensor) -> float:
    return float(((p - torch.eye(3)[targets]) ** 2).sum(1).mean())


@pytest.mark.parametrize(("temperature", "strength"), [(1.0, 1.0), (2.5, 1.0), (0.5, 0.6)])
@pytest.mark.parametrize("members", [0, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_optimum_is_the_one_that_scipy_finds(
    temperature: float, strength: float, members: int, weighted: bool
) -> None:
    x, targets = points([300, 80, 40], seed=3)
    logits = temperature * (bayes(x) + strength * LOG_WEIGHT)
    if members:
        noise = torch.randn(len(x), members, 3, generator=torch.Generator().manual_seed(0))
        logits = logits[:, None] + noise
    weights = torch.arange(len(x)) % 3 + 0.5 if weighted else None
    share = np.ones(len(x)) if weights is None else weights.double().numpy()
    share = share * share.sum() / (share**2).sum()

    def cost(at: np.ndarray) -> float:
        log_p = log_probabilities(logits.double(), float(np.exp(at[0])), at[1] * LOG_WEIGHT)
        likelihood = log_p.gather(1, targets[:, None]).squeeze(1).numpy() @ share
        away = (at[1] - EXPECTED_STRENGTH) / STRENGTH_DEVIATION
        return -likelihood + 0.5 * at[0] ** 2 + 0.5 * away**2

    best = minimize(cost, [0.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
    found = fit_calibration(logits, targets, weights, LOG_WEIGHT)
    assert found == pytest.approx((np.exp(best.x[0]), best.x[1]), rel=1e-3)


@pytest.mark.parametrize("training", ["class weights", "adjusted logits"])
def test_a_model_trained_on_another_prior_is_as_good_as_bayes(training: str) -> None:
    x, targets = points([4 * count for count in COUNTS], seed=0)
    weight, shift, log_weight = torch.ones(3), torch.zeros(3), LOG_WEIGHT
    if training == "class weights":
        weight = LOG_WEIGHT.exp()
    else:
        shift, log_weight = 1.5 * PRIOR.log(), -1.5 * PRIOR.log()
    model = torch.nn.Linear(3, 3)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=60)

    def closure() -> Tensor:
        optimizer.zero_grad()
        losses = torch.nn.functional.cross_entropy(model(x) + shift, targets, weight=weight)
        losses.backward()
        return losses

    optimizer.step(closure)
    with torch.no_grad():
        held, held_targets = points(COUNTS, seed=1)
        decide = Rebalanced(COUNTS, log_weight)
        raw = model(held).softmax(1)
        decide.fit(2.0 * model(held), held_targets)  # overconfident as networks are
        fresh, fresh_targets = points([3 * count for count in COUNTS], seed=2)
        natural = decide.probabilities(2.0 * model(fresh))
        optimum = brier(bayes(fresh).exp(), fresh_targets)
        assert brier(natural, fresh_targets) < 1.05 * optimum
        assert brier(raw, held_targets) > 1.5 * brier(bayes(held).exp(), held_targets)
        assert torch.equal(decide.decide(2.0 * model(fresh)), model(fresh).argmax(1))


def test_without_weights_it_is_temperature_scaling() -> None:
    x, targets = points([300, 80, 40], seed=3)
    logits = 2 * bayes(x)
    assert fit_calibration(logits, targets)[0] == fit_temperature(logits, targets)
    none = Calibration()
    none.fit(logits, targets)
    plain = Argmax([300, 80, 40])
    plain.fit(logits, targets)
    assert torch.equal(none.probabilities(logits), plain.probabilities(logits))
    assert none.fitted_strength is None


def test_validation_without_a_rare_class_keeps_the_strength_in_bounds() -> None:
    x, targets = points([300, 80, 0], seed=3)
    found = fit_calibration(bayes(x) + LOG_WEIGHT, targets, None, LOG_WEIGHT)
    assert found == pytest.approx((1.0, 1.0), abs=0.3)
    # All right, and by a wide margin: neither number runs away.
    sure = 30.0 * torch.eye(3)[targets]
    assert all(0.02 <= number <= 2.5 for number in fit_calibration(sure, targets, None, LOG_WEIGHT))


@pytest.mark.parametrize("kept", [0.0, 1.0])
def test_a_shift_is_taken_off_where_it_is_there_and_only_there(kept: float) -> None:
    """Adjusted logits keep a weight's whole effect; a network that fits all its rows, none."""
    x, targets = points(COUNTS, seed=5)
    said = bayes(x) + kept * LOG_WEIGHT
    held, held_targets = points([190, 28, 6], seed=4)  # 224 rows, six of the rarest class
    decide = Rebalanced(COUNTS, LOG_WEIGHT)
    chosen = decide.fit(bayes(held) + kept * LOG_WEIGHT, held_targets)
    assert chosen.strength == pytest.approx(kept, abs=0.2)
    optimum = brier(bayes(x).exp(), targets)
    assert brier(decide.probabilities(said), targets) < 1.03 * optimum
    other = (said - (1 - kept) * LOG_WEIGHT).softmax(1)  # the other number, for everybody
    assert brier(other, targets) > 1.3 * optimum


@pytest.mark.parametrize("kept", [0.0, 1.0])
def test_few_rows_that_say_nothing_leave_the_strength_between_none_and_all(kept: float) -> None:
    targets = torch.arange(18) % 2  # frequent classes, all right by a wide margin
    said = 12.0 * torch.eye(3)[targets] + kept * LOG_WEIGHT
    strength = fit_calibration(said, targets, None, LOG_WEIGHT)[1]
    assert strength == pytest.approx(EXPECTED_STRENGTH, abs=0.1)
    assert 0 < EXPECTED_STRENGTH < 1


def test_no_rows_and_rows_of_no_weight_leave_everything_as_it_is() -> None:
    x, targets = points([30, 8, 4], seed=3)
    logits, before = bayes(x), (1.0, EXPECTED_STRENGTH)
    assert fit_calibration(logits[:0], targets[:0], None, LOG_WEIGHT) == before
    assert fit_calibration(logits, targets, torch.zeros(42), LOG_WEIGHT) == before
    with pytest.raises(ValueError, match="NaN"):
        fit_calibration(logits * torch.nan, targets, None, LOG_WEIGHT)
    with pytest.raises(ValueError, match="finite number for each of 2"):
        Rebalanced([3, 4], LOG_WEIGHT)


def test_what_was_fitted_is_in_the_state() -> None:
    x, targets = points(COUNTS, seed=3)
    logits = 2 * (bayes(x) + 0.7 * LOG_WEIGHT)
    fitted = Rebalanced(COUNTS, LOG_WEIGHT)
    chosen = fitted.fit(logits, targets)
    restored = Rebalanced(COUNTS, torch.zeros(3))
    restored.load_state_dict(fitted.state_dict())
    assert torch.equal(restored.probabilities(logits), fitted.probabilities(logits))
    assert chosen.strength == pytest.approx(0.7, abs=0.15)
    assert chosen.temperature == pytest.approx(2.0, rel=0.15)
    fresh = fitted.unfitted()
    expected = (logits - EXPECTED_STRENGTH * LOG_WEIGHT).softmax(1)
    torch.testing.assert_close(fresh.probabilities(logits), expected)


def test_the_learning_curves_score_natural_probabilities() -> None:
    x, targets = points(COUNTS, seed=3)
    natural = bayes(x)
    plain = classification_scores(natural, targets, decide=lambda z: z.argmax(1))
    found = classification_scores(
        natural + LOG_WEIGHT, targets, decide=lambda z: z.argmax(1), log_weight=LOG_WEIGHT
    )
    assert found["log_loss"] == pytest.approx(plain["log_loss"], rel=1e-5)
    assert found["calibrated_log_loss"] == pytest.approx(plain["calibrated_log_loss"], rel=0.01)
    assert found["argmax_balanced_accuracy"] == plain["argmax_balanced_accuracy"]
    assert found["balanced_accuracy"] > plain["balanced_accuracy"]
