"""Our recipes, fitted as a user would, and what they say of the test."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from borrowed import Clock
from datasets import Dataset
from protocol import recipe_of
from reading import Labelled, Series, Texts

from mlexpert.fitted import Fitted
from mlexpert.recipes import get
from mlexpert.training.trainer import Trainer

Found = dict[str, Any]


def fit_timed(method: str, fields: Found, ds: Any, **roles: Any) -> tuple[Fitted, Found]:
    """Fit a recipe, and return it with the seconds of all of `fit` and of `Trainer.run`."""
    folder = Path(tempfile.mkdtemp(prefix="fit-"))
    with timed_loop() as loop:
        clock = Clock()
        fitted = get(recipe_of(method), **fields).fit(
            ds, run_dir=folder, fresh=True, leakage="report", progress=False, **roles
        )
        whole = clock.lap()
    model = fitted.parts.network.model
    record = json.loads((folder / "run.json").read_text())
    return fitted, {
        **{f"fit_{unit}": value for unit, value in whole.items()},
        **{f"loop_{unit}": value for unit, value in loop.items()},
        "parameters": sum(one.numel() for one in model.parameters()),
        "arithmetic": record.get("arithmetic", {}).get("precision"),
    }


@contextmanager
def timed_loop() -> Iterator[Found]:
    """Fill a dict with the CPU and wall seconds that all `Trainer.run` take meanwhile."""
    seconds: Found = {}
    run = Trainer.run

    def timed(trainer: Trainer) -> Any:
        clock = Clock()
        try:
            return run(trainer)
        finally:
            for unit, value in clock.lap().items():
                seconds[unit] = seconds.get(unit, 0.0) + value

    Trainer.run = timed  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        Trainer.run = run  # type: ignore[method-assign]


def of_language(method: str, texts: Texts, fields: Found) -> Found:
    """Return loss in nats by token, and bits by byte, of the text that is scored."""
    ds = {"train": [texts.train], "validation": [texts.validation]}
    fitted, found = fit_timed(method, fields, ds)
    said = fitted.evaluate([texts.test])
    nats = said["bits_per_byte"] * len(texts.test.encode()) * math.log(2)
    return {**found, "loss": said["loss"], "bits_per_byte": said["bits_per_byte"], "nats": nats}


def of_forecasts(method: str, rows: Series, fields: Found) -> Found:
    """Return the errors of all test windows, in standard deviations of train."""
    ds = {"train": rows.train, "validation": rows.validation}
    fitted, found = fit_timed(method, fields, ds, time="date")
    said = fitted.evaluate(rows.test)
    windows = len(rows.test) - fields["context"] - fields["horizon"] + 1
    return {**found, "mse": said["forecast_mse"], "mae": said["forecast_mae"], "windows": windows}


def of_classes(method: str, rows: Labelled, fields: Found) -> Found:
    """Return the share of test rows that are wrong."""
    fitted, found = fit_timed(method, fields, rows.train)
    accuracy = fitted.evaluate(rows.test)["accuracy"]
    return {**found, "accuracy": accuracy, "error": 1 - accuracy}


def of_tags(
    method: str, data: Path, file: str, target: str, fields: Found, *, smoke: bool
) -> Found:
    """Return the share of test words that are right, and F1 of entities where tags mark them."""
    of = {part: data / f"{file}_{part}.parquet" for part in ("train", "dev", "test")}
    ds: dict[str, Any] = {"train": of["train"], "validation": of["dev"]}
    if smoke:
        ds = {name: Dataset.from_parquet(str(path)).take(200) for name, path in ds.items()}
    fitted, found = fit_timed(method, fields, ds, target=target, inputs="tokens")
    said = fitted.evaluate(of["test"])
    entities = {"entity_f1": said["entity_f1"]} if "entity_f1" in said else {}
    return {**found, "accuracy": said["tag_accuracy"], **entities}


def of_pairs(method: str, train: Any, test: Any, fields: Found) -> Found:
    """Return the share of test pairs that are right as a whole, and of tokens that are wrong."""
    fitted, found = fit_timed(method, fields, train)
    said = fitted.evaluate(test)
    return {**found, "exact": said["sequence_accuracy"], "token_error": said["token_error_rate"]}
