from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import mlexpert
from mlexpert.cli import main
from mlexpert.data.schema import Schema
from mlexpert.data.sequences.statistics import SeriesStats
from mlexpert.errors import InputError
from mlexpert.fitted import Fitted
from mlexpert.recipes import get
from mlexpert.recipes.sequence_cls.residual_blocks import SequenceCls
from tests.small_data import series, table, texts

DATA = Path(os.environ.get("MLEXPERT_DATA", "."))
MIXERS = ("conv", "lstm", "transformer", "ssd")


def fit(
    run_dir: Path, ds: Any = None, roles: dict[str, Any] | None = None, **fields: Any
) -> Fitted:
    recipe = get("sequence-cls", **{"epochs": 2, "dim": 32, "num_layers": 2, **fields})
    rows = series() if ds is None else ds
    return recipe.fit(rows, run_dir=run_dir, progress=False, **(roles or {}))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fit(tmp_path_factory.mktemp("series") / "run", epochs=12)


def real(file: str) -> Path:
    path = DATA / file
    if not path.is_file():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{path} is missing")
        pytest.skip(f"{path} is missing")
    return path


def test_it_learns_waves_and_comes_back_equal(fitted: Fitted, tmp_path: Path) -> None:
    assert fitted.evaluate()["accuracy"] > 0.9
    new = series(seed=1)
    assert fitted.evaluate(new)["accuracy"] > 0.9
    expected = fitted.predict_proba(new)
    loaded = mlexpert.load(fitted.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.predict_proba(new), expected)


def test_every_form_of_the_same_rows_has_the_same_answer(fitted: Fitted) -> None:
    new = series(30, seed=1)
    expected = fitted.predict_proba(new)
    padded = np.full((30, 40), np.nan)
    for row, wave in zip(padded, new["wave"], strict=True):
        row[: len(wave)] = wave
    lists = [wave.tolist() for wave in new["wave"]]
    forms = (
        padded,
        padded[:, :, None],
        torch.from_numpy(padded),
        lists,
        new["wave"],
        new[["wave"]],
    )
    for form in (*forms, (lists, new["label"])):
        np.testing.assert_allclose(fitted.predict_proba(form), expected, atol=1e-6)
    np.testing.assert_allclose(fitted.predict_proba(lists[:1]), expected[:1], atol=1e-5)
    pieces = fitted.predict_stream(iter(lists), rows_at_once=7)
    said = np.concatenate([piece.predictions for piece in pieces])
    np.testing.assert_array_equal(said, fitted.predict(new))


@pytest.mark.parametrize("mixer", MIXERS)
def test_every_mixer_learns_what_only_the_order_of_steps_tells(mixer: str, tmp_path: Path) -> None:
    """Ramps up and down: their values are the same, in another order."""
    rng = np.random.default_rng(0)
    up = rng.random(160) < 0.5
    ramps = [np.linspace(-1, 1, rng.integers(12, 24)) for _ in up]
    noisy = [
        (r if u else r[::-1]) + rng.normal(0, 0.1, len(r)) for r, u in zip(ramps, up, strict=True)
    ]
    found = fit(tmp_path / "run", (noisy, up), mixer=mixer, epochs=12, lr=5e-3)
    assert found.evaluate()["accuracy"] > 0.9


def test_texts_are_read_as_tokens(tmp_path: Path) -> None:
    found = fit(tmp_path / "run", texts(), epochs=12)
    assert found.schema.kind == "text" and found.evaluate()["accuracy"] > 0.85
    assert np.isfinite(found.predict_proba(["", "win " * 999, "ราคา"])).all()


def test_labels_may_be_several(tmp_path: Path) -> None:
    rows = series()
    tags = [["fast"] if one == "fast" else [] for one in rows["label"]]
    high = np.arange(len(rows)) % 2 == 0
    waves = [wave + 5 * one for wave, one in zip(rows["wave"], high, strict=True)]
    tags = [[*tag, "high"] if one else tag for tag, one in zip(tags, high, strict=True)]
    found = fit(tmp_path / "run", (waves, tags), epochs=8)
    assert found.predict(waves).tolist()[:4:2] and found.schema.objective == "multilabel"
    assert sum("high" in said for said in found.predict(waves)) == pytest.approx(high.sum(), abs=12)


def test_the_worst_rows_are_drawn_and_the_report_shows_them(fitted: Fitted) -> None:
    assert fitted.run_dir is not None
    worst = json.loads((fitted.run_dir / "examples.json").read_text())
    assert (fitted.run_dir / worst[0]["file"]).is_file()
    page = fitted.report().read_text()
    assert page.count("data:image/") >= 10


def test_a_parquet_file_goes_through_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    series().to_parquet("rows.parquet")
    words = ["fit", "sequence-cls", "rows.parquet", "--set", "epochs=1", "--set", "mixer=lstm"]
    for line in ([*words, "--run-dir", "run"], ["predict", "run", "rows.parquet"]):
        with pytest.raises(SystemExit) as ended:
            main(line)
        assert ended.value.code in (0, None)
    record = json.loads(Path("run/run.json").read_text())
    assert record["config"]["mixer"] == "lstm" and record["data"]["kind"] == "series"


def test_recordings_are_read_as_sound(tmp_path: Path) -> None:
    """Spoken zeros and ones, told apart from few recordings; also of a speaker not heard before."""
    table = pd.read_parquet(real("fsdd.parquet"))
    few = table[table["label"].isin([0, 1])].groupby(["speaker", "label"]).head(12)
    found = fit(
        tmp_path / "run",
        few[["audio", "label", "speaker"]],
        {"group": "speaker"},
        sampling_rate=8000,
        epochs=10,
    )
    assert found.evaluate()["accuracy"] > 0.8


def test_real_series_of_unequal_length(tmp_path: Path) -> None:
    """Japanese vowels: 270 of 12 channels and 7 to 26 steps, nine speakers."""
    held = np.load(real("ts_JapaneseVowels.npz"))
    parts = {
        name: (held[f"X_{name}"].transpose(0, 2, 1), held[f"y_{name}"])
        for name in ("train", "test")
    }
    found = fit(tmp_path / "run", parts, epochs=15, validation=0.2)
    assert found.final_test(reason="the test of the recipe")["accuracy"] > 0.9


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "stereo": (
        (np.random.default_rng(0).normal(size=(40, 50, 2)), [0, 1] * 20),
        {"sampling_rate": 8000},
        r"2 channels, and a waveform has one: take their mean, x.mean\(axis=1\)",
    ),
    "texts with a rate": (texts(), {"sampling_rate": 8000}, "is for waveforms; these are texts"),
    "a table": (
        table().rename(columns={"bought": "label"}),
        {},
        r"rows are a table of 3 columns; take tabular-cls.*table.to_numpy",
    ),
    "numbers in columns": (
        (pd.DataFrame(np.random.default_rng(0).normal(size=(40, 9))), [0, 1] * 20),
        {},
        "rows are a table of 9 columns",
    ),
    "a gap": (
        ([[1.0, 2.0, 3.0]] * 39 + [[1.0, None, 3.0]], [0, 1] * 20),
        {},
        "row 39 has no finite number",
    ),
    "an empty one": (([[1.0, 2.0]] * 39 + [[]], [0, 1] * 20), {}, "row 39 is an empty series"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows_are_refused_before_a_run_begins(case: str, tmp_path: Path) -> None:
    ds, fields, message = BAD[case]
    with pytest.raises(InputError, match=message), np.errstate(all="raise"):
        fit(tmp_path / "run", ds, **fields)
    assert not (tmp_path / "run").exists()


def test_rows_to_predict_have_the_channels_of_training(fitted: Fitted) -> None:
    with pytest.raises(InputError, match="3 channels; the model was trained on 1"):
        fitted.predict([np.ones((5, 3))])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mixer": "gru"}, "mixer='gru'"),
        ({"dim": 20}, "dim=20; it has to be a multiple of 16"),
        ({"num_layers": 0}, "num_layers=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"sampling_rate": 8}, "sampling_rate=8; it has to be 1000 or more"),
        ({"max_length": 0}, "max_length=0"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        get("sequence-cls", **fields)


def test_few_rows_are_gone_through_more_often() -> None:
    def settled(rows: int, **fields: Any) -> SequenceCls:
        stats = SeriesStats(1, 50, 90, 100, (0.0,), (1.0,))
        half = (rows // 2, rows - rows // 2)
        return SequenceCls(**fields).settle(
            Schema("series", (0, 1), ("0", "1"), half, series=stats)
        )

    few, many = settled(50), settled(100_000)
    assert few.epochs > 50 > many.epochs and few.batch_size < many.batch_size
    assert few.ema and settled(50, epochs=7, lr=0.5).epochs == 7
