from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mlexpert
from mlexpert.blocks.backbones.rocket_classifier import RocketClassifier
from mlexpert.errors import InputError
from mlexpert.fitted import Fitted
from mlexpert.recipes import get
from mlexpert.recipes.sequence_cls import multi_rocket
from mlexpert.training.interrupt import Interrupted
from mlexpert.training.method import Batch
from mlexpert.training.methods.solved_series import likeliest_scale, some_rows
from tests.small_data import series, texts

DATA = Path(os.environ.get("MLEXPERT_DATA", "."))


def fit(run_dir: Path, ds: Any = None, **fields: Any) -> Fitted:
    recipe = get("sequence-cls/multirocket", **{"num_features": 2000, **fields})
    return recipe.fit(series() if ds is None else ds, run_dir=run_dir, progress=False)


def hard(rows: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return series whose class is seen through much noise."""
    easy, generator = series(rows, seed), np.random.default_rng(seed)
    noisy = [wave + generator.normal(0, 1.5, len(wave)).astype(np.float32) for wave in easy["wave"]]
    return noisy, easy["label"].to_numpy()


def test_waves_of_two_frequencies_are_told_apart_with_sound_probabilities(tmp_path: Path) -> None:
    fitted = fit(tmp_path / "run")
    new = series(300, seed=1)
    assert fitted.evaluate(new)["accuracy"] > 0.95
    rare = fit(tmp_path / "hard", hard(200, 0)).evaluate(hard(300, 1))
    assert rare["ece"] < 0.1  # scores of a regression are no logits
    report = fitted.report().read_text()
    assert "the recipe solves for its weights" in report and "more epochs" not in report


def test_japanese_vowels_of_unequal_length(tmp_path: Path) -> None:
    path = DATA / "ts_JapaneseVowels.npz"
    if not path.is_file():
        assert os.environ.get("CI") != "true", f"{path} is missing"
        pytest.skip(f"{path} is missing")
    held = np.load(path)
    parts = {
        name: (
            [x[:, :n].T for x, n in zip(held[f"X_{name}"], held[f"length_{name}"], strict=True)],
            held[f"y_{name}"],
        )
        for name in ("train", "test")
    }
    fitted = fit(tmp_path / "run", parts, num_features=10_000)
    assert fitted.evaluate(parts["test"])["accuracy"] > 0.95  # ROCKET has .970


def test_waveforms_are_read_as_energies_whatever_their_loudness(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(80) % 2
    time = np.arange(2400) / 8000
    pitch = np.where(labels[:, None], 600 + 3000 * time, 1500 - 3000 * time)  # Hz: up, or down
    waves = [
        np.sin(2 * np.pi * np.cumsum(one) / 8000) * generator.uniform(0.05, 1)
        + 1e-3 * generator.standard_normal(2400)
        for one in pitch
    ]
    fitted = fit(tmp_path / "run", (waves, labels), sampling_rate=8000)
    assert fitted.parts.network.model.convolutions.of_values.weight.shape[2] == 40
    said = fitted.predict_proba(waves)
    assert (said.argmax(axis=1) == labels).mean() > 0.95
    np.testing.assert_allclose(fitted.predict_proba([3 * wave for wave in waves]), said, atol=1e-3)


def test_is_stopped_where_it_looks_at_its_rows_and_begins_that_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, features = fit(tmp_path / "whole", series(200)), RocketClassifier.features
    looks = 0

    def look(self: RocketClassifier, inputs: torch.Tensor) -> torch.Tensor:
        nonlocal looks
        looks += 1
        if looks == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return features(self, inputs)

    with monkeypatch.context() as patched:
        patched.setattr(RocketClassifier, "features", look)
        with pytest.raises(Interrupted, match=r"step-\d+ is kept"):
            fit(tmp_path / "broken", series(200))
    assert looks == 2
    went_on = fit(tmp_path / "broken", series(200))
    np.testing.assert_array_equal(
        went_on.predict_proba(series(20)["wave"]), whole.predict_proba(series(20)["wave"])
    )


def test_a_class_of_more_weight_is_said_more_often(tmp_path: Path) -> None:
    rows, new = hard(150, 0), hard(200, 1)[0]
    plain = fit(tmp_path / "plain", rows)
    heavy = fit(tmp_path / "heavy", rows, class_weight={"fast": 20.0, "slow": 1.0})
    said = [(fitted.predict(new) == "fast").mean() for fitted in (plain, heavy)]
    assert said[1] > said[0] + 0.1


def test_texts_and_what_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lists of numbers"):
        fit(tmp_path / "texts", texts())
    for name, value in (("num_features", 100), ("ema", 0.9), ("label_smoothing", 0.1)):
        with pytest.raises(InputError, match=name):
            get("sequence-cls/multirocket", **{name: value})


def test_rows_that_do_not_fit_are_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = fit(tmp_path / "fits")
    monkeypatch.setattr(multi_rocket, "available_bytes", lambda: 1000)
    with pytest.raises(InputError, match="num_features"):
        fit(tmp_path / "run")
    # To answer, a model needs no room for the rows that it was made from.
    mlexpert.load(fitted.save(tmp_path / "model"))


def test_scores_become_logits_by_the_likelihood_of_their_targets() -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(4000, 3, dtype=torch.float64)
    classes = torch.distributions.Categorical(logits=logits).sample()
    one_hot = torch.nn.functional.one_hot(classes, 3).double()
    assert likeliest_scale(logits / 40, one_hot) == pytest.approx(40, rel=0.15)
    labels = torch.bernoulli(logits.sigmoid())
    assert likeliest_scale(logits / 40, labels) == pytest.approx(40, rel=0.15)


def test_rows_for_biases_are_of_all_batches_and_no_more_than_wanted() -> None:
    torch.manual_seed(0)
    batches = [
        Batch(torch.full((10, 3 + n, 1), float(n)), torch.zeros(10), torch.arange(10))
        for n in range(5)
    ]
    some = some_rows(iter(batches), 20)
    assert some.shape == (20, 7, 1) and len(some[:, 0, 0].unique()) >= 4
    assert some[some[:, 0, 0] == 0][:, 3:].isnan().all()
    assert some_rows(iter(batches), 100).shape[0] == 50
