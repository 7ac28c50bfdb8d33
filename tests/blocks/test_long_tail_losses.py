"""Losses for long-tailed data against closed forms, NumPy, and torch's cross-entropy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mlexpert.blocks.layers.cosine_linear import CosineLinear, GroupedCosineLinear
from mlexpert.blocks.losses.effective_number import effective_number_weights
from mlexpert.blocks.losses.focal import Focal, focal_loss
from mlexpert.blocks.losses.ldam import Ldam
from mlexpert.blocks.losses.logit_adjusted import LogitAdjusted
from mlexpert.errors import InputError

COUNTS = [80, 15, 5]
LOSSES = {
    "logit adjusted": LogitAdjusted(COUNTS),
    "focal": Focal(gamma=2.0, class_weight=torch.tensor([0.5, 2.0, 4.0])),
    "ldam": Ldam(COUNTS),
}


def rows(count: int = 9, spread: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(count)
    return torch.randn(count, 3) * spread, torch.randint(3, (count,))


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.0])
def test_logit_adjusted_is_cross_entropy_of_logits_plus_the_prior(tau: float) -> None:
    logits, targets = rows()
    prior = np.array(COUNTS) / 100
    shifted = np.exp(logits.double().numpy()) * prior**tau
    expected = -np.log(shifted[np.arange(9), targets] / shifted.sum(axis=1))
    loss = LogitAdjusted(COUNTS, tau=tau)
    np.testing.assert_allclose(loss(logits, targets), expected, rtol=1e-5)
    np.testing.assert_allclose(loss.log_weight, -tau * np.log(prior), rtol=1e-6)


def test_the_best_logits_of_an_adjusted_loss_are_those_of_balanced_classes() -> None:
    """For one input seen with the classes' own frequencies, the optimum is constant (eq. 10)."""
    targets = torch.arange(3).repeat_interleave(torch.tensor(COUNTS))
    logits = torch.zeros(1, 3, requires_grad=True)
    LogitAdjusted(COUNTS)(logits.expand(100, 3), targets).mean().backward()
    torch.testing.assert_close(logits.grad, torch.zeros(1, 3), atol=1e-7, rtol=0)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_is_its_definition_with_an_unweighted_probability(gamma: float) -> None:
    logits, targets = rows()
    weight = torch.tensor([0.5, 2.0, 4.0])
    odds = np.exp(logits.double().numpy())
    p = (odds / odds.sum(axis=1, keepdims=True))[np.arange(9), targets]
    expected = weight.numpy()[targets] * (1 - p) ** gamma * -np.log(p)
    losses = focal_loss(logits, targets, gamma=gamma, class_weight=weight)
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-6)
    if gamma == 0:
        plain = F.cross_entropy(logits, targets, weight=weight, reduction="none")
        torch.testing.assert_close(losses, plain)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_has_finite_slopes_where_a_row_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]], requires_grad=True)
    focal_loss(logits, torch.tensor([0, 0]), gamma=gamma).sum().backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[1, 0] < -0.9  # certain and wrong: the slope of cross-entropy


def test_effective_numbers_are_those_of_the_paper_and_of_its_limits() -> None:
    counts = np.array([5000.0, 50.0, 1.0])
    for beta in [0.9, 0.999, 0.9999]:
        exact = (1 - beta) / (1 - beta**counts)
        weights = effective_number_weights(counts.tolist(), beta=beta).double().numpy()
        np.testing.assert_allclose(weights / weights[2], exact / exact[2], rtol=1e-5)
        assert (weights * counts).sum() / counts.sum() == pytest.approx(1)
    assert effective_number_weights(COUNTS, beta=0.0).tolist() == [1.0, 1.0, 1.0]
    inverse = 100 / (3 * torch.tensor(COUNTS, dtype=torch.float32))
    torch.testing.assert_close(
        effective_number_weights(COUNTS, beta=1 - 1e-12), inverse, rtol=1e-5, atol=0
    )


def test_ldam_lowers_the_true_logit_by_its_margin_and_scales_the_whole() -> None:
    cosines, targets = rows(spread=0.3)
    margin = 0.5 * (5 / np.array(COUNTS)) ** 0.25
    z = cosines.double().numpy()
    z[np.arange(9), targets] -= margin[targets]
    odds = np.exp(30 * z)
    expected = -np.log(odds[np.arange(9), targets] / odds.sum(axis=1))
    np.testing.assert_allclose(Ldam(COUNTS)(30 * cosines, targets), expected, rtol=1e-4, atol=1e-6)
    without = Ldam(COUNTS, max_margin=0.0)(30 * cosines, targets)
    torch.testing.assert_close(without, F.cross_entropy(30 * cosines, targets, reduction="none"))


@pytest.mark.parametrize("name", LOSSES)
def test_members_are_averaged_and_shares_that_are_whole_are_indices(name: str) -> None:
    torch.manual_seed(1)
    loss, targets = LOSSES[name], torch.randint(3, (6,))
    logits = (torch.randn(6, 4, 3) * 3).requires_grad_()
    losses = loss(logits, targets)
    assert losses.shape == (6,)
    singles = torch.stack([loss(logits[:, member], targets) for member in range(4)])
    torch.testing.assert_close(losses, singles.mean(dim=0))
    torch.testing.assert_close(loss(logits, F.one_hot(targets, 3).float()), losses)
    losses.sum().backward()
    assert logits.grad.isfinite().all() and logits.grad.any()


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_logits_give_a_float32_loss(name: str) -> None:
    logits, targets = rows()
    half = logits.bfloat16()
    losses = LOSSES[name](half, targets)
    assert losses.dtype == torch.float32
    assert torch.equal(losses, LOSSES[name](half.float(), targets))


def test_a_cosine_layer_is_torchs_cosine_and_its_grouped_form_so_many_of_it() -> None:
    torch.manual_seed(2)
    features = torch.randn(5, 2, 7)
    grouped = GroupedCosineLinear(2, 7, 3, scale=30.0)
    singles = [CosineLinear(7, 3, scale=30.0) for _ in range(2)]
    for member, layer in enumerate(singles):
        with torch.no_grad():
            layer.weight.copy_(grouped.weight[member].T * (member + 2))  # a norm changes nothing
        cosine = F.cosine_similarity(features[:, member, None], layer.weight, dim=-1)
        torch.testing.assert_close(layer(features[:, member]), 30 * cosine)
    expected = torch.stack([layer(features[:, m]) for m, layer in enumerate(singles)], dim=1)
    torch.testing.assert_close(grouped(features), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(grouped(features), expected)  # no digits are lost
    zero = singles[0](torch.zeros(1, 7))
    assert torch.equal(zero, torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: LogitAdjusted([3, 0]), r"at least one training row.*\[3, 0\]"),
        (lambda: LogitAdjusted([]), "at least one training row"),
        (lambda: LogitAdjusted([3, 1], tau=-1.0), "tau=-1.0"),
        (lambda: LogitAdjusted([3, 1], tau=math.nan), "tau=nan"),
        (lambda: effective_number_weights([3, 0]), "at least one training row"),
        (lambda: effective_number_weights([3, 1], beta=1.0), "beta=1.0.*below 1"),
        (lambda: effective_number_weights([3, 1], beta=-0.1), "beta=-0.1"),
        (lambda: Focal(gamma=-1.0), "gamma=-1.0"),
        (lambda: Focal(class_weight=torch.tensor([1.0, -2.0])), r"class weights \[1.0, -2.0\]"),
        (lambda: Focal(class_weight=torch.tensor([1.0, math.inf])), "class weights"),
        (lambda: Ldam([3, 0]), "at least one training row"),
        (lambda: Ldam([3, 1], max_margin=2.0), "max_margin=2.0"),
        (lambda: Ldam([3, 1], scale=0.0), "scale=0.0"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(build, said: str) -> None:
    with pytest.raises(InputError, match=said):
        build()
