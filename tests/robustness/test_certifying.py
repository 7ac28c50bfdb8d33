"""Randomised smoothing as a user meets it: a recipe that trains on noise, and its certificates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from mlexpert.errors import InputError
from mlexpert.fitted import Fitted
from mlexpert.recipes.adversarial_cls.smoothing import Noisy, Smoothing
from mlexpert.robustness.certifying import Certificates, certify
from mlexpert.training.method import Batch
from tests.small_data import of_kind

NAMES = np.array(["top", "bottom"])


def bright_halves(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Grey images (N, 8, 8): the brighter half is the class, by 60 of 255."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, rows)
    pixels = rng.integers(80, 110, (rows, 8, 8))
    pixels[labels == 0, :4] += 60
    pixels[labels == 1, 4:] += 60
    return pixels.astype(np.uint8), NAMES[labels]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    recipe = Smoothing(sigma=0.2, epochs=6, backbone="mlp", lr=0.02, precision="fp32")
    folder = tmp_path_factory.mktemp("smoothing")
    return recipe.fit(bright_halves(400), run_dir=folder / "run", progress=False)


@pytest.fixture(scope="module")
def found(fitted: Fitted) -> Certificates:
    rows = bright_halves(30, seed=1)
    return certify(fitted, rows, num_estimate=400, radii=(0.0, 0.3, 0.6, 5.0))


def test_what_is_certified_is_told_in_the_users_terms(found: Certificates) -> None:
    _, labels = bright_halves(30, seed=1)
    assert found.sigma == 0.2 and found.radius.shape == (30,) and found.classes.dtype == object
    assert list(found.is_correct) == [a == b for a, b in zip(found.classes, labels, strict=True)]
    assert [value is None for value in found.classes] == list(found.radius == 0)
    for radius, accuracy in found.accuracy.items():
        assert accuracy == np.mean(found.is_correct & (found.radius >= radius))
    assert found.accuracy[0.0] > 0.9 and found.accuracy[0.3] > 0.5 and found.accuracy[5.0] == 0


def test_no_step_towards_the_other_half_changes_a_certified_answer(
    fitted: Fitted, found: Certificates
) -> None:
    """The shortest way from one class to the other, just as long as was certified."""
    pixels, _ = bright_halves(30, seed=1)
    images = torch.from_numpy(pixels).float().div(255)[:, None]
    way = torch.ones(1, 8, 8)
    way[:, 4:] = -1  # brighter on top
    way = way / way.norm()
    sign = torch.tensor([1.0 if name == "bottom" else -1.0 for name in found.classes])
    moved = images + 0.99 * torch.from_numpy(found.radius).float().mul(sign).view(-1, 1, 1, 1) * way
    from mlexpert.blocks.certificates.randomized_smoothing import smoothed_decisions

    model = fitted.parts.network.model
    now = smoothed_decisions(model, moved, sigma=0.2, num_samples=400, seed=9)
    answered = found.radius > 0
    said = fitted.classes_[now.numpy()]
    assert answered.sum() > 25 and (now.numpy() >= 0)[answered].mean() > 0.9
    sure = answered & (now.numpy() >= 0)
    assert list(said[sure]) == list(found.classes[sure])


def test_training_on_noise_certifies_more_than_training_without(tmp_path: Path) -> None:
    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    rows = (images[:60], digits.target[:60])
    shares, radius = {}, {}
    for trained_on in (0.5, 1e-6):
        recipe = Smoothing(
            sigma=trained_on, epochs=30, backbone="mlp", lr=0.1, shift=0, precision="fp32"
        )
        learned = recipe.fit(
            (images[60:660], digits.target[60:660]),
            run_dir=tmp_path / f"{trained_on}",
            progress=False,
        )
        known = certify(learned, rows, sigma=0.5, num_estimate=300, radii=(0.25,))
        shares[trained_on], radius[trained_on] = known.accuracy[0.25], known.radius.mean()
    assert shares[0.5] > shares[1e-6] + 0.1 and radius[0.5] > 1.2 * radius[1e-6]


def test_the_same_rows_have_the_same_certificates(fitted: Fitted) -> None:
    rows = bright_halves(5, seed=1)
    one, other = (certify(fitted, rows, num_estimate=50, rows=n) for n in (7, 1000))
    assert np.array_equal(one.radius, other.radius)


def test_noise_has_its_deviation_and_is_not_clipped() -> None:
    batch = Batch(torch.full((8, 1, 50, 50), 0.9), torch.zeros(8).long(), torch.arange(8))
    torch.manual_seed(0)
    noisy = Noisy(lambda batch: batch, 0.5)(batch).inputs - 0.9
    assert float(noisy.std()) == pytest.approx(0.5, rel=0.03) and abs(float(noisy.mean())) < 0.02
    assert float(noisy.max()) > 1
    assert torch.equal(batch.inputs, torch.full((8, 1, 50, 50), 0.9))


def test_what_cannot_be_certified_is_refused(fitted: Fitted, tmp_path: Path) -> None:
    from mlexpert.recipes import get

    with pytest.raises(InputError, match="radii"):
        certify(fitted, bright_halves(3), radii=(-1.0,))
    with pytest.raises(InputError, match="sigma=0"):
        Smoothing(sigma=0.0)
    texts = of_kind("tabular")
    table = get("imbalanced-cls/plain", epochs=1).fit(
        texts, run_dir=tmp_path / "table", progress=False
    )
    with pytest.raises(InputError, match="Classes of images"):
        certify(table, texts, sigma=1.0)
    unsmoothed = get("imbalanced-cls/plain", epochs=1, backbone="mlp").fit(
        bright_halves(60), run_dir=tmp_path / "plain", progress=False
    )
    with pytest.raises(InputError, match="trains on no noise"):
        certify(unsmoothed, bright_halves(3))
