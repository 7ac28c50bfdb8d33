"""Made-up run folders of labels and of numbers, with folds, worst rows and importance beside them.

`python tests/evidence/fake_objectives.py FOLDER` writes one of each below FOLDER and renders them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import fake_run
import numpy as np
import pandas as pd
from PIL import Image
from safetensors.numpy import save_file

from mlexpert.data.ledger import Ledger
from mlexpert.evidence.bootstrap import intervals_of
from mlexpert.evidence.objectives import metrics_of
from mlexpert.evidence.subgroups import subgroups_of

LABELS = (
    "beach", "sunset", "foliage <b>&", "field", "mountain", "urban", "people", "night", "snow",
    "reflections in water",
)  # fmt: skip
COLUMNS = (
    "median income", "latitude", "longitude", "average rooms", "average bedrooms", "house age",
    "population", "average occupancy", "distance to the coast in kilometres", "<i>owner",
)  # fmt: skip
MEAN, STD = 206_855.8, 115_395.6
"""Of the made-up prices."""


def label_arrays(rng: np.random.Generator, num_rows: int) -> dict[str, np.ndarray]:
    """Return labels that come true with calibrated probabilities, neighbours often together."""
    num_labels = len(LABELS)
    shares = np.geomspace(0.45, 0.01, num_labels)
    mixing = np.eye(num_labels) + 0.45 * np.eye(num_labels, k=1) + 0.45 * np.eye(num_labels, k=-1)
    scores = rng.normal(size=(num_rows, num_labels)) @ mixing * 2 + np.log(shares / (1 - shares))
    probabilities = 1 / (1 + np.exp(-scores))
    targets = rng.random(scores.shape) < probabilities
    thresholds = np.where(shares > 0.05, 0.4, 0.5)
    return {
        "probabilities": probabilities.astype(np.float32),
        "uncalibrated": (1 / (1 + np.exp(-1.8 * scores))).astype(np.float32),
        "decisions": (probabilities >= thresholds).astype(np.uint8),
        "targets": targets.astype(np.uint8),
    }


def value_arrays(rng: np.random.Generator, num_rows: int) -> dict[str, np.ndarray]:
    """Return prices with errors that grow with them, and a few that are far off."""
    targets = np.minimum(np.exp(rng.normal(12.0, 0.55, num_rows)), 500_001.0)
    errors = targets * (0.16 * rng.normal(size=num_rows) - 0.03)
    errors[rng.random(num_rows) < 0.01] *= 6
    return {"predictions": targets + errors, "targets": targets}


ARRAYS = {"multilabel": label_arrays, "regression": value_arrays}


def write(
    run_dir: Path,
    objective: str,
    *,
    num_rows: int = 900,
    openings: int = 1,
    folds: int = 0,
    seed: int = 0,
) -> Path:
    """Write a run folder and return it."""
    rng = np.random.default_rng(seed)
    run_dir.mkdir(parents=True)
    validation = ARRAYS[objective](rng, num_rows)
    counts = 8 * validation["targets"].sum(axis=0) if objective == "multilabel" else []
    schema = _schema(objective, [int(count) for count in counts], 8 * num_rows)
    _save(run_dir, "validation", objective, validation, schema)
    rows = _history(rng, objective, metrics_of(objective, validation, train_counts=counts))
    if not folds:
        lines = [json.dumps(row) + "\n" for row in rows]
        (run_dir / "metrics.jsonl").write_text("".join(lines))
    if openings:
        test = ARRAYS[objective](rng, num_rows)
        _save(run_dir, "test", objective, test, schema)
        _open_test(run_dir, objective, test, schema)
    run = _run_json(objective, schema, rows, num_rows)
    if folds:
        del run["best"], run["last"]
        run["folds"] = folds
        for number in range(1, folds + 1):
            fold = run_dir / "folds" / str(number)
            write(fold, objective, num_rows=num_rows // folds, openings=0, seed=seed + number)
    (run_dir / "run.json").write_text(json.dumps(run, indent=1))
    return run_dir


def add_pictures(
    run_dir: Path, names: tuple[str, ...], *, side: int = 28, number: int = 24
) -> None:
    """Write `examples.json` with pictures of noise and rings."""
    rng = np.random.default_rng(3)
    (run_dir / "examples").mkdir()
    found = []
    for place in range(number):
        y, x = np.mgrid[:side, :side] / side - 0.5
        rings = np.cos(40 * np.hypot(x - rng.normal() / 8, y) + rng.normal(size=x.shape) / 4)
        pixels = (127 + 120 * np.stack([rings, rings * x * 2, y], axis=-1)).astype(np.uint8)
        file = f"examples/{place:02d}.png"
        Image.fromarray(pixels).save(run_dir / file)
        target = place % len(names)
        found.append(
            {
                "file": file, "row": 17 * place, "target": names[target],
                "decision": names[(target + 1) % len(names)], "probability": 1 - 0.01 * place,
            }
        )  # fmt: skip
    (run_dir / "examples.json").write_text(json.dumps(found))


def add_texts(run_dir: Path) -> None:
    """Write `examples.json` with texts that have several labels."""
    text = "What is the <b>longest</b> word that can be typed with the left hand only? "
    found = [
        {
            "text": text * (1 + place % 9), "row": place, "target": list(LABELS[place % 3 : 3]),
            "decision": [] if place % 2 else ["night"], "probability": 0.91,
        }
        for place in range(12)
    ]  # fmt: skip
    (run_dir / "examples.json").write_text(json.dumps(found))


def add_rows(run_dir: Path) -> None:
    """Write `examples.json` with rows of a table, and the importance of its columns."""
    rng = np.random.default_rng(4)
    found = [
        {
            "columns": {
                name: None if place == 3 else float(rng.normal(30, 20)) for name in COLUMNS
            },
            "row": place, "target": 480_000.0 - 9_000 * place, "decision": 112_311.75,
            "probability": None,
        }
        for place in range(8)
    ]  # fmt: skip
    (run_dir / "examples.json").write_text(json.dumps(found))
    columns = [
        {"column": name, "mean": 41_000 * 0.55**place - 30, "std": 300 + 1_100 * 0.6**place}
        for place, name in enumerate(COLUMNS)
    ]
    about = {"metric": "rmse", "rows": 2000, "repeats": 3, "columns": columns}
    (run_dir / "importance.json").write_text(json.dumps(about))


def _schema(objective: str, counts: list[int], num_rows: int) -> dict[str, Any]:
    names = LABELS if objective == "multilabel" else ()
    values = {"mean": MEAN, "std": STD, "low": 14_999.0, "high": 500_001.0}
    return {
        "kind": "image" if objective == "multilabel" else "tabular",
        "objective": objective,
        "num_rows": num_rows,
        "classes": list(range(len(names))),
        "class_names": list(names),
        "class_counts": counts,
        "values": values if objective == "regression" else None,
    }


def _save(run_dir: Path, part: str, objective: str, arrays, schema) -> None:
    folder = run_dir / "predictions"
    folder.mkdir(exist_ok=True)
    save_file(arrays, folder / f"{part}.safetensors")
    size = len(arrays["targets"])
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {"region": rng.choice(["north", "south", "isle"], size, p=[0.6, 0.38, 0.02])}
    )
    found = subgroups_of(objective, arrays, frame, train_counts=schema["class_counts"])
    text = json.dumps(fake_run._plain(found))
    (folder / f"{part}_subgroups.json").write_text(text)


def _history(rng, objective: str, final: dict[str, float]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for epoch in range(1, 21):
        done = 1 - np.exp(-epoch / 4)
        where = {"step": epoch * 35, "epoch": epoch, "seconds": 3.2 * epoch}
        if objective == "regression":
            error = 1 - (1 - (final["rmse"] / STD) ** 2) * done + rng.normal() * 0.004
            rows.append({**where, "split": "train", "loss": error * 0.85})
            scores = {"squared_error": error, "rmse": error**0.5, "r2": 1 - error}
        else:
            loss = 0.7 * (1 - done) + final["log_loss"] * done + rng.normal() * 0.004
            rows.append({**where, "split": "train", "loss": loss * 0.85})
            scores = {
                "log_loss": loss + 0.002 * max(0, epoch - 13),
                "calibrated_log_loss": loss,
                "subset_accuracy": final["subset_accuracy"] * done,
                "micro_f1": final["micro_f1"] * done,
                "macro_f1": final["macro_f1"] * done**2,
            }
        rows.append({**where, "split": "validation", **scores})
    train = {name: 0.8 * value for name, value in scores.items()}
    rows.append({**where, "split": "train_clean", **train})
    return rows


def _open_test(run_dir: Path, objective: str, arrays, schema) -> None:
    counts = schema["class_counts"]
    found = intervals_of(objective, arrays, train_counts=counts, resamples=200)
    ledger = Ledger(fake_run.FINGERPRINT, home=run_dir / "home")
    ledger.append(reason="paper table 1", run=run_dir.name, recipe="tabular-reg@1")
    opening = {
        "time": "2026-11-21T10:12:00+00:00",
        "reason": "paper table 1",
        "number": 1,
        "metrics": {name: one.value for name, one in found.items()},
        "intervals": {name: [one.low, one.high] for name, one in found.items()},
        "notes": {name: one.note for name, one in found.items() if one.note},
    }
    (run_dir / "final_test.json").write_text(json.dumps([fake_run._plain(opening)]))
    ledger.export(run_dir / "ledger.jsonl")


def _run_json(objective: str, schema, rows, num_rows: int) -> dict[str, Any]:
    last = fake_run._without(rows[-2])
    monitor = "rmse" if objective == "regression" else "calibrated_log_loss"
    counts = {"class_counts": schema["class_counts"]} if objective == "multilabel" else {}
    criteria = {
        "regression": {"rmse": 50_000, "r2": 0.95, "mean_error": 10_000, "rmse_of_mean": 1.0},
        "multilabel": {"micro_f1": 0.6, "hamming_loss": 0.05},
    }
    decision: dict[str, Any] = {"temperature": 1.0, "rule": "the model's output"}
    if objective == "multilabel":
        shares = np.geomspace(0.45, 0.01, len(LABELS))
        decision["thresholds"] = np.where(shares > 0.05, 0.4, 0.5).tolist()
    return {
        "recipe": "tabular-reg" if objective == "regression" else "image-cls",
        "version": 1,
        "config": {"seed": 0, "epochs": 20, "batch_size": 256, "class_weight": None},
        "seed": 0,
        "status": "finished",
        "started": "2026-11-21T09:58:11+00:00",
        "num_parameters": 272474,
        "data": {
            "source": "data/houses.parquet",
            "kind": schema["kind"],
            "rows": 10 * num_rows,
            "fingerprint": fake_run.FINGERPRINT,
            "split_fingerprint": "77aa" * 16,
            "target": "price",
            "roles": {"subgroups": ["region"], "sample_weight": "w <b>&"},
            "weights": {"mean": 1.0, "low": 0.25, "high": 4.0, "digest": "ab"},
            "how": "test is 10 % of the rows, validation 10 %.",
            "parts": {
                "train": {"rows": 8 * num_rows, **counts},
                "validation": {"rows": num_rows},
                "test": {"rows": num_rows},
            },
        },
        "schema": schema,
        "leakage": [{"check": "groups", "severity": "ok", "message": "None.", "examples": []}],
        "criteria": criteria[objective],
        "seconds": {"total": 112.4, "train": 76.8},
        "best": {**last, "metric": monitor, "value": last[monitor]},
        "last": {**last, "metric": monitor, "value": last[monitor]},
        "decision": decision,
    }


if __name__ == "__main__":
    from mlexpert.evidence.report import render

    home = Path(sys.argv[1])
    add_texts(write(home / "labels", "multilabel"))
    add_rows(write(home / "values", "regression"))
    write(home / "many-values", "regression", num_rows=20_000)
    add_rows(write(home / "folds", "regression", folds=5, openings=0))
    for name in ("fashion", "hundred"):
        kind = fake_run.KINDS[name]
        side = 28 if name == "fashion" else 224
        add_pictures(fake_run.write(home / name, kind), kind.names, side=side)
    for folder in sorted(path for path in home.iterdir() if path.is_dir()):
        print(render(folder), (folder / "report.html").stat().st_size)
