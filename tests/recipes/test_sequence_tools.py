"""What else is done with recipes and models of sequences: compared, sized, swept, attacked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mlexpert
from mlexpert.cli import main
from mlexpert.errors import InputError
from mlexpert.evidence.metric_table import METRICS
from mlexpert.fitting.trials import lr_range, predict_memory
from mlexpert.recipes import get
from tests.small_sequences import documents, hourly, pairs, tagged

LANGUAGE = {"context": 16, "dim": 16, "num_layers": 1, "num_heads": 2, "batch_size": 4}


def test_forecasts_are_compared_on_the_same_windows(tmp_path: Path) -> None:
    recipes = [
        get(name, context=24, horizon=6, epochs=1)
        for name in ("forecasting/nlinear", "forecasting")
    ]
    found = mlexpert.compare(recipes, hourly(), run_dir=tmp_path, seeds=1, progress=False)
    means = found.facts["results"]["means"]
    for recipe in recipes:
        for metric in ("forecast_mse", "forecast_mae", "mase"):
            assert means[recipe.name][metric]["value"] > 0
    best = min(means, key=lambda name: means[name]["forecast_mse"]["value"])
    assert found.facts["results"]["best"] == best
    page = found.report().read_text()
    assert METRICS["forecast_mse"].title in page and "the values to come" in page


def test_what_is_not_counted_of_such_tags_cannot_be_compared(tmp_path: Path) -> None:
    frame = tagged()
    frame["tags"] = [["N" if tag == "O" else "P" for tag in tags] for tags in frame["tags"]]
    recipes = [get("sequence-tagging", epochs=1, dim=dim) for dim in (16, 32)]
    with pytest.raises(InputError, match="entity_f1.*There are: tag_accuracy"):
        mlexpert.compare(
            dict(zip("ab", recipes, strict=True)), frame, run_dir=tmp_path, metrics="entity_f1"
        )


def test_the_memory_of_a_step_is_predicted() -> None:
    forecast = predict_memory(get("language-model", **LANGUAGE), documents())
    assert forecast.unpredicted == ""
    peaks = [forecast.peaks[size] for size in sorted(forecast.peaks)]
    assert None not in peaks and peaks == sorted(peaks)


def test_a_sweep_draws_as_many_windows_as_training() -> None:
    swept = lr_range(get("language-model", steps=8, **LANGUAGE), documents(), num_steps=20)
    assert len(swept.losses) == 20 and np.isfinite(swept.losses).all()
    words = lr_range(get("sequence-tagging", dim=16, batch_tokens=40), tagged(), num_steps=20)
    assert len(words.losses) == 20


def test_models_of_sequences_are_not_attacked(tmp_path: Path) -> None:
    fitted = get("sequence-tagging", epochs=1, dim=16).fit(
        tagged(), run_dir=tmp_path, progress=False
    )
    with pytest.raises(InputError, match="a tag for each word; attacks are on one class a row"):
        mlexpert.attack(fitted, tagged())


def test_the_command_line_writes_tags_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = {"epochs": 1, "dim": 16}
    tagger = get("sequence-tagging", **small).fit(tagged(), run_dir="tags", progress=False)
    turned = get("seq2seq", num_layers=1, num_heads=2, **small).fit(
        pairs(), run_dir="pairs", progress=False
    )
    tagged(5, seed=1).drop(columns="tags").to_parquet("words.parquet")
    pairs(5, seed=1).drop(columns="target").to_csv("sources.csv", index=False)
    for run, file, column, said in (
        ("tags", "words.parquet", "words", tagger.predict(tagged(5, seed=1)["words"].tolist())),
        ("pairs", "sources.csv", "source", turned.predict(pairs(5, seed=1)["source"].tolist())),
    ):
        with pytest.raises(SystemExit):
            main(["predict", run, file, "--output", f"{run}.parquet"])
        written = pd.read_parquet(f"{run}.parquet")["prediction"].tolist()
        assert written == [one if isinstance(one, str) else " ".join(one) for one in said]
        with pytest.raises(SystemExit) as ended:
            main(["predict", run, "words.parquet" if file == "sources.csv" else "sources.csv"])
        assert ended.value.code == 2 and f"no column '{column}'" in capsys.readouterr().err
