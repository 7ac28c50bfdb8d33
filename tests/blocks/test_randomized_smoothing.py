from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binom, binomtest, kstest, norm
from torch import Tensor, nn

from mlexpert.blocks.certificates.gaussian import gaussian
from mlexpert.blocks.certificates.randomized_smoothing import (
    ABSTAINS,
    certify,
    lower_bound,
    smoothed_decisions,
)
from mlexpert.errors import InputError

SIGMA = 0.5


def linear(size: int = 6, classes: int = 2, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(size, classes)


def distance(model: nn.Linear, inputs: Tensor) -> Tensor:
    """How far (B,) each input is from the plane between the two classes, in float64."""
    weight, bias = model.weight.detach().double(), model.bias.detach().double()
    across, height = weight[1] - weight[0], bias[1] - bias[0]
    return (inputs.double() @ across + height).abs() / across.norm()


def test_a_linear_model_is_certified_almost_to_its_boundary_and_not_beyond() -> None:
    """There the smoothed classifier is the model, and its radius is the distance itself."""
    model = linear()
    inputs = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    found = certify(model, inputs, sigma=SIGMA, num_estimate=4000, alpha=0.001)
    true = distance(model, inputs)
    sure = found.classes != ABSTAINS
    assert 25 < int(sure.sum()) < 40 and bool((true[~sure] < 0.1).all())
    assert torch.equal(found.classes[sure], model(inputs).argmax(dim=1)[sure])
    assert bool((found.radius <= true).all()) and bool((found.radius[~sure] == 0).all())
    in_reach = sure & (true < 2.5 * SIGMA)  # 4000 draws prove no more than 2.9 sigma
    assert bool((true[in_reach] - found.radius[in_reach] < 0.35 * SIGMA).all())


def test_the_radius_is_that_of_the_exact_bound_on_the_counts() -> None:
    model, inputs = linear(classes=3), torch.randn(12, 6)
    found = certify(model, inputs, sigma=SIGMA, num_estimate=500, alpha=0.01)
    assert found.counts.sum(dim=1).tolist() == [500] * 12
    for chosen, radius, counts in zip(
        found.classes.tolist(), found.radius.tolist(), found.counts, strict=True
    ):
        if chosen == ABSTAINS:
            continue
        test = binomtest(int(counts[chosen]), 500, alternative="greater")
        low = test.proportion_ci(confidence_level=0.99, method="exact").low
        assert radius == pytest.approx(SIGMA * norm.ppf(low), rel=1e-9)


@pytest.mark.parametrize("alpha", [0.001, 0.1])
@pytest.mark.parametrize("p", [0.3, 0.55, 0.97])
def test_the_bound_holds_as_often_as_it_says(p: float, alpha: float) -> None:
    """Summed over all outcomes of 60 trials; with one success more it would hold too rarely."""
    hits = np.arange(61)
    chance = binom.pmf(hits, 60, p)
    low = lower_bound(hits, 60, alpha)
    assert low[0] == 0 and bool((np.diff(low) > 0).all())
    assert chance[low <= p].sum() >= 1 - alpha
    next_better = np.append(low[1:], 1.0)
    assert chance[next_better <= p].sum() < 1 - alpha


def test_certificates_are_wrong_no_more_often_than_alpha() -> None:
    """2000 inputs at the same distance: at most 5 % are certified beyond the boundary."""
    model = linear(size=2)
    across = (model.weight[1] - model.weight[0]).detach()
    foot = -(model.bias[1] - model.bias[0]).detach() * across / across.square().sum()
    inputs = (foot + 0.4 * across / across.norm()).expand(2000, 2).clone()
    assert distance(model, inputs)[0] == pytest.approx(0.4, rel=1e-5)
    found = certify(model, inputs, sigma=SIGMA, num_select=20, num_estimate=200, alpha=0.05)
    wrong = float((found.radius > 0.4).double().mean())
    assert 0.02 < wrong < 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5


def test_it_abstains_on_the_boundary() -> None:
    model, inputs = linear(), torch.zeros(50, 6)
    with torch.no_grad():
        model.bias.zero_()
    found = certify(model, inputs, sigma=SIGMA, num_estimate=300)
    assert int((found.classes == ABSTAINS).sum()) >= 49
    decided = smoothed_decisions(model, inputs, sigma=SIGMA, num_samples=300, alpha=0.001)
    assert int((decided == ABSTAINS).sum()) >= 49


def test_decisions_are_those_of_the_binomial_test() -> None:
    model = linear(classes=3)
    inputs = 0.3 * torch.randn(30, 6, generator=torch.Generator().manual_seed(2))
    decided = smoothed_decisions(model, inputs, sigma=SIGMA, num_samples=200, alpha=0.05, seed=4)
    wanted = []
    noise = gaussian_of_draws(len(inputs), 200, seed=4)
    for row, own in zip(inputs, noise, strict=True):
        votes = model(row + SIGMA * own).argmax(dim=1).bincount(minlength=3)
        (first, second), classes = votes.topk(2)
        is_sure = binomtest(int(first), int(first + second), 0.5).pvalue <= 0.05
        wanted.append(int(classes[0]) if is_sure else ABSTAINS)
    assert decided.tolist() == wanted
    assert ABSTAINS in wanted and len(set(wanted)) > 2


def gaussian_of_draws(rows: int, draws: int, *, seed: int) -> Tensor:
    from mlexpert.blocks.certificates.noisy_votes import Noise

    row = torch.arange(rows).repeat_interleave(draws)
    noise = Noise(1.0, seed).on(torch.zeros(rows * draws, 6), row, torch.arange(draws).repeat(rows))
    return noise.view(rows, draws, 6)


def test_the_result_is_the_inputs_own_whatever_the_batch() -> None:
    model, inputs = linear(), torch.randn(9, 6)
    ids = torch.arange(100, 109)
    options = {"sigma": SIGMA, "num_estimate": 300, "num_select": 10, "seed": 3}
    whole = certify(model, inputs, ids=ids, **options)
    pieces = certify(model, inputs, ids=ids, rows=7, **options)
    backwards = certify(model, inputs.flip(0), ids=ids.flip(0), **options)
    alone = certify(model, inputs[4:5], ids=ids[4:5], **options)
    assert torch.equal(whole.counts, pieces.counts)
    assert torch.equal(whole.counts, backwards.counts.flip(0))
    assert torch.equal(whole.counts[4:5], alone.counts)
    other = certify(model, inputs, ids=ids, **{**options, "seed": 4})
    assert not torch.equal(whole.counts, other.counts)


def test_model_and_random_numbers_are_left_as_they_were() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 2))
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    certify(model, torch.randn(3, 6, generator=torch.Generator()), sigma=1.0, num_estimate=50)
    assert torch.equal(torch.get_rng_state(), state) and model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_noise_is_gaussian_and_independent() -> None:
    ids = torch.arange(400)
    noise = gaussian(ids, torch.Size([3, 5, 17]), seed=1)  # an odd number of coordinates
    assert noise.shape == (400, 3, 5, 17)
    flat = noise.flatten(1).double()
    assert kstest(flat.flatten().numpy(), "norm").pvalue > 0.01
    correlation = torch.corrcoef(flat.T)
    correlation.fill_diagonal_(0.0)
    assert float(correlation.abs().max()) < 5.5 / 400**0.5
    for other in (
        gaussian(ids, torch.Size([255]), seed=2),
        gaussian(ids + 400, torch.Size([255]), seed=1),
    ):
        assert abs(float((flat * other).mean())) < 4 / flat.numel() ** 0.5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sigma": 0.0}, "sigma=0.0"),
        ({"sigma": float("nan")}, "sigma=nan"),
        ({"sigma": 1.0, "alpha": 1.0}, "alpha=1.0"),
        ({"sigma": 1.0, "num_select": 0}, "num_select=0"),
        ({"sigma": 1.0, "num_estimate": 2**24}, "num_estimate"),
        ({"sigma": 1.0, "rows": 0}, "rows=0"),
        ({"sigma": 1.0, "ids": torch.arange(4)}, "ids are"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(options, words: str) -> None:
    with pytest.raises(InputError, match=words):
        certify(linear(), torch.zeros(3, 6), **options)


def test_a_broken_model_is_refused() -> None:
    with pytest.raises(InputError, match="not finite"):
        certify(lambda inputs: inputs / 0, torch.zeros(3, 2), sigma=1.0, num_estimate=10)
    with pytest.raises(InputError, match="no inputs"):
        certify(linear(), torch.zeros(0, 6), sigma=1.0)
    with pytest.raises(InputError, match="one logit"):
        smoothed_decisions(nn.Linear(6, 1), torch.zeros(3, 6), sigma=1.0)
