"""A made-up but realistic run folder, for the tests of the report and for looking at it.

`python tests/evidence/fake_run.py FOLDER` writes one of each kind below FOLDER and renders them.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from mlexpert.data.ledger import Ledger
from mlexpert.data.schema import Schema, schema_to_json
from mlexpert.evidence.bootstrap import intervals_of
from mlexpert.evidence.metrics import classification_metrics
from mlexpert.evidence.subgroups import subgroups_of

FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FINGERPRINT = "5b1c" * 16
FINDINGS = [
    ("duplicates train/test", "ok", "No row of train repeats in test.", 0, []),
    (
        "duplicates validation/test",
        "note",
        "3 rows of the source were exact copies of others; all copies were put on one side.",
        3,
        [12, 408, 977],
    ),
    ("groups", "skipped", "No group was named, so shared groups were not looked for.", 0, []),
    (
        "single columns",
        "warning",
        "Column 'ticket_id' predicts the target almost perfectly (AUC 0.998): remove it, or say "
        "why it is known when predictions are made.",
        1,
        ["ticket_id"],
    ),
]


@dataclass(frozen=True)
class Kind:
    """What a fake run is about."""

    names: tuple[str, ...] = FASHION
    largest: int = 1200
    imbalance: float = 100.0
    skill: float = 2.2
    num_test: int = 2000
    openings: int = 1
    finished: bool = True
    epochs: int = 24
    clean: bool = True
    subgroups: bool = False


KINDS = {
    "fashion": Kind(subgroups=True),
    "sealed": Kind(openings=0),
    "binary": Kind(
        names=("healthy", "calcification <b>&"),
        largest=7000,
        imbalance=42.0,
        skill=3.0,
        openings=2,
        subgroups=True,
    ),
    "hundred": Kind(
        names=tuple(f"species number {k}" for k in range(100)), largest=500, skill=3.0, clean=False
    ),
    "interrupted": Kind(finished=False, openings=0, epochs=5),
    "starting": Kind(finished=False, openings=0, epochs=0),
}


def write(run_dir: Path, kind: Kind, *, seed: int = 0) -> Path:
    """Write a run folder and return it."""
    rng = np.random.default_rng(seed)
    run_dir.mkdir(parents=True)
    num_classes = len(kind.names)
    counts = np.round(kind.largest * kind.imbalance ** -np.linspace(0, 1, num_classes)).astype(int)
    log_prior = np.log(counts / counts.sum())
    held_out = np.maximum(np.round(counts * 0.2), 2).astype(int)
    validation = _predictions(rng, kind, log_prior, np.repeat(np.arange(num_classes), held_out))
    if kind.finished:
        _save(run_dir, "validation", validation)
        _save_subgroups(run_dir, "validation", validation, kind, counts)
    history = _history(rng, kind, _metrics(validation, counts))
    lines = [json.dumps(row) + "\n" for row in history]
    (run_dir / "metrics.jsonl").write_text("".join(lines))
    if kind.openings:
        _open_test(run_dir, rng, kind, counts, log_prior)
    run = _run_json(kind, counts, held_out, history)
    (run_dir / "run.json").write_text(json.dumps(run, indent=1))
    return run_dir


def _predictions(rng, kind: Kind, log_prior, targets) -> dict[str, np.ndarray]:
    num_classes = len(kind.names)
    # Neighbouring classes are confused more often than distant ones. These are true posteriors of
    # normal scores, so they are calibrated; the sharpened twins are not.
    apart = np.abs(np.subtract.outer(np.arange(num_classes), np.arange(num_classes)))
    means = kind.skill * np.exp(-apart / 0.9)
    scores = means[targets] + rng.normal(size=(len(targets), num_classes))
    logits = scores @ means.T - (means**2).sum(axis=1) / 2 + log_prior
    probabilities, sharp = _softmax(logits), _softmax(logits * 1.8)
    return {
        "probabilities": probabilities.astype(np.float32),
        "uncalibrated": sharp.astype(np.float32),
        "decisions": (np.log(probabilities + 1e-12) - log_prior).argmax(axis=1),
        "targets": targets.astype(np.int64),
    }


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _save(run_dir: Path, part: str, arrays: dict[str, np.ndarray]) -> None:
    folder = run_dir / "predictions"
    folder.mkdir(exist_ok=True)
    save_file(arrays, folder / f"{part}.safetensors")


def _save_subgroups(run_dir: Path, part: str, arrays, kind: Kind, counts) -> None:
    """Write results by sex (with missing values), age (numeric) and site (with small ones)."""
    if not kind.subgroups:
        return
    rng = np.random.default_rng(7)
    size = len(arrays["targets"])
    frame = pd.DataFrame(
        {
            "sex": rng.choice(["female", "male", None], size, p=[0.7, 0.25, 0.05]),
            "age": rng.normal(52, 14, size).round(),
            "site <b>&": rng.choice(["Basel", "<i>Lyon", "Kyoto"], size, p=[0.93, 0.06, 0.01]),
            "device": "A 200",
        }
    )
    found = subgroups_of("classification", arrays, frame, train_counts=counts)
    text = json.dumps(_plain(found))
    (run_dir / "predictions" / f"{part}_subgroups.json").write_text(text)


def _metrics(arrays: dict[str, np.ndarray], counts) -> dict[str, float]:
    return classification_metrics(
        arrays["probabilities"], arrays["decisions"], arrays["targets"], train_counts=counts
    )


def _history(rng, kind: Kind, final: dict[str, float]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    worst = np.log(len(kind.names))
    for epoch in range(1, kind.epochs + 1):
        done = 1 - np.exp(-epoch / 4)
        where = {"step": epoch * 35, "epoch": epoch, "seconds": 3.2 * epoch}
        train = worst * (1 - done) + 0.35 * final["log_loss"] * done
        drift = 0.006 * max(0, epoch - 16)
        loss = worst * (1 - done) + final["log_loss"] * done + drift + rng.normal() * 0.01
        rows.append({**where, "split": "train", "loss": train, "lr": 1e-3 * (1 - epoch / 30)})
        scores = {
            "log_loss": loss,
            "accuracy": final["accuracy"] * done + rng.normal() * 0.006,
            "balanced_accuracy": final["balanced_accuracy"] * done + rng.normal() * 0.008,
            "argmax_balanced_accuracy": final["argmax_balanced_accuracy"] * done**1.4
            + rng.normal() * 0.008,
        }
        rows.append({**where, "split": "validation", **scores})
    return rows


def _open_test(run_dir: Path, rng, kind: Kind, counts, log_prior) -> None:
    num_classes = len(kind.names)
    targets = np.sort(rng.choice(num_classes, kind.num_test, p=np.exp(log_prior)))
    if num_classes == 10:
        targets = np.repeat(np.arange(10), kind.num_test // 10)
    arrays = _predictions(rng, kind, log_prior, targets)
    _save(run_dir, "test", arrays)
    _save_subgroups(run_dir, "test", arrays, kind, counts)
    metrics = _metrics(arrays, counts)
    found = intervals_of("classification", arrays, train_counts=counts, resamples=200)
    ledger = Ledger(FINGERPRINT, home=run_dir / "home")
    openings = []
    for number in range(1, kind.openings + 1):
        reason = "paper table 1" if number == 1 else "reviewer 2 asked for <b>another</b> look"
        ledger.append(reason=reason, run=run_dir.name, recipe="imbalanced-cls@1")
        openings.append(
            {
                "time": f"2026-11-2{number}T10:12:00+00:00",
                "reason": reason,
                "number": number,
                "metrics": _plain(metrics),
                "intervals": {
                    name: [_plain(one.low), _plain(one.high)] for name, one in found.items()
                },
                "notes": {name: one.note for name, one in found.items() if one.note},
            }
        )
    (run_dir / "final_test.json").write_text(json.dumps(openings))
    ledger.export(run_dir / "ledger.jsonl")


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def _run_json(kind: Kind, counts, held_out, history) -> dict[str, Any]:
    rows = [row for row in history if row["split"] == "validation"]
    best = min(rows, key=lambda row: row["log_loss"]) if rows else None
    schema = Schema("image", tuple(range(len(counts))), kind.names, tuple(counts.tolist()))
    run: dict[str, Any] = {
        "recipe": "imbalanced-cls",
        "version": 1,
        "config": {
            "seed": 0, "epochs": 24, "batch_size": 128, "lr": 0.001, "weight_decay": 0.05,
            "backbone": "auto", "precision": "auto", "validation": 0.15, "warmup": 0.1,
        },
        "source_hash": "9f" * 32,
        "mlexpert": "0.1.0",
        "packages": {"mlexpert": "0.1.0", "torch": "2.14.1", "numpy": "2.4.6", "timm": "1.0.31"},
        "environment": {
            "python": "3.11.7", "platform": "Linux-6.1-x86_64", "cpu": "Example CPU @ 2.60GHz",
            "cores": 2, "device": "cpu", "threads": 2, "precision": "fp32", "gpu": None,
        },
        "seed": 0,
        "status": "finished" if kind.finished else "interrupted",
        "started": "2026-11-21T09:58:11+00:00",
        "num_parameters": 272474,
        "data": {
            "source": "/home/someone/data/fashion_mnist_lt.parquet",
            "kind": "image",
            "rows": int(counts.sum() + held_out.sum() + kind.num_test),
            "fingerprint": FINGERPRINT,
            "split_fingerprint": "77aa" * 16,
            "target": "label",
            "roles": {"subgroups": ["sex", "age"] if kind.subgroups else None},
            "how": "Your own test split was kept; validation is 15 % of train, by class.",
            "parts": {
                "train": {"rows": int(counts.sum()), "class_counts": counts.tolist()},
                "validation": {"rows": int(held_out.sum()), "class_counts": held_out.tolist()},
                "test": {"rows": kind.num_test},
            },
        },
        "schema": schema_to_json(schema),
        "leakage": _findings(kind),
        "criteria": {"balanced_accuracy": 0.7, "ece": 0.02, "few_shot": 0.3},
    }  # fmt: skip
    if kind.finished and best is not None:
        run |= {
            "finished": "2026-11-21T10:00:03+00:00",
            "seconds": {"total": 112.4, "train": 76.8},
            "best": {**_without(best), "metric": "log_loss", "value": best["log_loss"]},
            "last": {**_without(rows[-1]), "metric": "log_loss", "value": rows[-1]["log_loss"]},
            "decision": {
                "temperature": 1.31,
                "tau": 1.0,
                "rule": "tau = 1: the rarest class has 2 validation rows, and tau is tuned from "
                "50 upwards",
                "rarest_rows": 2,
            },
        }
    return run


def _findings(kind: Kind) -> list[dict[str, Any]]:
    keys = ("check", "severity", "message", "count", "examples")
    found = [dict(zip(keys, finding, strict=True)) for finding in FINDINGS]
    return [one for one in found if one["severity"] != "warning"] if kind.clean else found


def _without(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("step", "seconds", "split")}


if __name__ == "__main__":
    import fake_training

    from mlexpert.evidence.report import render

    for name, one in KINDS.items():
        folder = write(Path(sys.argv[1]) / name, one)
        fake_training.KINDS.get(name, lambda folder: None)(folder)
        print(render(folder), asdict(one)["openings"])
