"""The range test: against quadratics, whose stability limit is 2 / lambda, and a small net."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from mlexpert.errors import InputError
from mlexpert.training.lr_range import LrRange, lr_range


def quadratic(curvature: float, noise: float = 0.0, seed: int = 0) -> Callable[[float], float]:
    """Gradient descent on curvature * x^2 / 2 from x = 1, seen through noise of this size."""
    generator = torch.Generator().manual_seed(seed)
    x = 1.0

    def step(lr: float) -> float:
        nonlocal x
        seen = 0.5 * curvature * x * x
        x -= lr * curvature * x
        return seen + noise * torch.randn((), generator=generator).item()

    return step


def noise_alone(seed: int) -> LrRange:
    generator = torch.Generator().manual_seed(seed)
    return lr_range(lambda lr: 1.0 + 0.1 * torch.randn((), generator=generator).item())


def test_the_sweep_is_exponential_and_its_average_unbiased() -> None:
    seen: list[float] = []

    def step(lr: float) -> float:
        seen.append(lr)
        return 5.0 - math.log10(lr)

    found = lr_range(step, start=1e-4, end=1.0, num_steps=41, smoothing=0.8)

    assert found.lrs == tuple(seen)
    assert torch.allclose(torch.tensor(seen), torch.logspace(-4, 0, 41))
    for at, value in enumerate(found.smoothed):
        weights = [0.8 ** (at - past) for past in range(at + 1)]
        sums = zip(weights, found.losses, strict=False)
        assert value == pytest.approx(sum(w * x for w, x in sums) / sum(weights))


def test_the_steepest_point_of_a_known_curve_is_found() -> None:
    # A logistic curve over log(lr), steepest at its middle; without smoothing nothing lags.
    found = lr_range(lambda lr: 1.0 / (1.0 + lr / 2e-3), start=1e-6, end=1.0, smoothing=0.0)
    step = found.lrs[1] / found.lrs[0]
    assert found.suggested is not None
    assert 1 / step <= found.suggested / 2e-3 <= step
    assert found.minimum == 1.0


@pytest.mark.parametrize("curvature", [0.3, 4.0, 50.0])
def test_a_quadratic_is_bracketed_by_its_stability_limit(curvature: float) -> None:
    limit = 2.0 / curvature

    found = lr_range(quadratic(curvature), end=1e3)

    turned = min(range(len(found.losses)), key=found.losses.__getitem__)
    assert found.lrs[turned - 1] < limit < found.lrs[turned]
    assert found.suggested is not None and found.minimum is not None
    assert limit / 100 < found.suggested < limit / 2
    assert found.suggested < found.minimum
    assert limit < found.lrs[-1] < 20 * limit
    assert found.smoothed[-1] > 4 * min(found.smoothed) >= found.smoothed[-2]
    assert "4 times its minimum" in found.note


def test_the_suggestion_scales_with_the_curvature() -> None:
    # lr * curvature is all that counts, so both axes only change their units.
    flat = lr_range(quadratic(1.0), start=1e-5, end=100.0)
    steep = lr_range(quadratic(8.0), start=1e-5 / 8, end=100.0 / 8)
    assert flat.suggested == pytest.approx(8 * steep.suggested)
    assert flat.minimum == pytest.approx(8 * steep.minimum)


def test_noise_moves_the_suggestion_by_less_than_a_factor_of_three() -> None:
    still = lr_range(quadratic(2.0)).suggested
    for seed in range(12):
        noisy = lr_range(quadratic(2.0, noise=0.2, seed=seed)).suggested
        assert still is not None and noisy is not None
        assert 1 / 3 < noisy / still < 3


def test_the_suggestion_trains_a_net_better_than_rates_far_from_it() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(512, 10, generator=generator)
    targets = (inputs[:, :5].sum(1) > inputs[:, 5:].sum(1)).long()

    def fresh() -> Callable[[float], float]:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)

        def step(lr: float) -> float:
            rows = torch.randint(512, (64,))
            optimizer.param_groups[0]["lr"] = lr
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs[rows]), targets[rows])
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    def after(lr: float) -> float:
        step = fresh()
        losses = [step(lr) for _ in range(100)]
        return sum(losses[-20:]) / 20

    suggested = lr_range(fresh()).suggested

    assert suggested is not None
    trained = after(suggested)
    assert trained < 0.2
    assert trained < after(suggested / 30) / 2
    assert not after(suggested * 30) < trained * 2  # or not finite


def test_a_loss_that_never_falls_gets_a_sentence_and_no_rate() -> None:
    runs = [noise_alone(0), lr_range(lambda lr: 0.7), lr_range(lambda lr: 1.0 + lr)]
    for found in runs:
        assert found.suggested is None
        assert "No rate is suggested" in found.note
    suggestions = sum(noise_alone(seed).suggested is not None for seed in range(200))
    assert suggestions <= 20


def test_a_loss_that_is_not_finite_ends_the_sweep() -> None:
    falling = quadratic(1.0)
    found = lr_range(lambda lr: falling(lr) if lr < 0.9 else math.nan)
    assert found.suggested is not None and found.lrs[-1] < 0.9
    assert all(map(math.isfinite, found.losses))
    assert "not finite" in found.note

    at_once = lr_range(lambda lr: math.inf)
    assert at_once.lrs == () and at_once.suggested is None
    assert "starts too high" in at_once.note


def test_a_negative_loss_may_fall_and_diverge_too() -> None:
    shifted = quadratic(4.0)
    found = lr_range(lambda lr: shifted(lr) - 5.0, end=1e3)
    assert found.suggested == pytest.approx(lr_range(quadratic(4.0), end=1e3).suggested)
    assert 0.5 < found.lrs[-1] < 10.0


def test_the_record_is_plain_json() -> None:
    found = lr_range(quadratic(1.0))
    back = json.loads(json.dumps(found.record(), allow_nan=False))
    assert back["suggested"] == found.suggested
    assert back["losses"] == list(found.losses)
    assert set(back) == set(LrRange.__dataclass_fields__)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"start": 0.0}, "0 < start < end"),
        ({"start": 1.0, "end": 0.1}, "start=1, end=0.1"),
        ({"end": math.inf}, "end=inf"),
        ({"start": math.nan}, "start=nan"),
        ({"num_steps": 5}, "num_steps=5"),
        ({"smoothing": 1.0}, "smoothing=1"),
    ],
)
def test_bad_input_is_refused_before_the_first_step(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        lr_range(lambda lr: pytest.fail("a step was made"), **options)
