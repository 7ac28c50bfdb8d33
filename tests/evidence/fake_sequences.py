"""Made-up run folders of models of sequences, one for each objective.

`python tests/evidence/fake_sequences.py FOLDER` writes them below FOLDER and renders them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import fake_objectives
import numpy as np
from safetensors.numpy import save_file

from mlexpert.evidence.objectives import metrics_of

TAGS = ("O", "B-person", "I-person", "B-place <i>")


def token_counts(rng: np.random.Generator, num_rows: int) -> dict[str, np.ndarray]:
    """Return nats of texts of unequal length."""
    tokens = rng.integers(40, 90, num_rows).astype(float)
    return {"nats": tokens * rng.normal(1.6, 0.1, num_rows), "tokens": tokens, "bytes": tokens + 2}


def tag_counts(rng: np.random.Generator, num_rows: int) -> dict[str, np.ndarray]:
    """Return right tags and spans of sentences."""
    tokens = rng.integers(1, 40, num_rows)
    true = rng.integers(0, 4, num_rows)
    found = rng.binomial(true, 0.5)
    counts = {
        "right": rng.binomial(tokens, 0.94), "tokens": tokens, "found": found, "true": true,
        "given": found + rng.integers(0, 2, num_rows),
    }  # fmt: skip
    return {name: values.astype(float) for name, values in counts.items()}


def pair_counts(rng: np.random.Generator, num_rows: int) -> dict[str, np.ndarray]:
    """Return edits of sequences."""
    edits = rng.integers(0, 3, num_rows) * rng.integers(0, 2, num_rows)
    counts = {
        "exact": edits == 0, "edits": edits, "length": rng.integers(3, 12, num_rows),
        "rows": np.ones(num_rows),
    }  # fmt: skip
    return {name: values.astype(float) for name, values in counts.items()}


def window_counts(rng: np.random.Generator, num_rows: int) -> dict[str, np.ndarray]:
    """Return errors of windows of 96 steps and 7 columns."""
    absolute = rng.gamma(9, 30, num_rows)
    values = np.full(num_rows, 672.0)
    return {
        "squared": absolute**2 / 600, "absolute": absolute, "values": values,
        "pinball": absolute / 3, "covered": rng.binomial(672, 0.8, num_rows).astype(float),
        "naive_absolute": absolute * 1.3,
    }  # fmt: skip


def shown(objective: str, rng: np.random.Generator) -> dict[str, Any]:
    """Return what a run of the objective shows of its answers."""
    row = {"precision": 0.8, "recall": 0.7, "f1": 0.75}
    if objective == "tokens":
        text = "First Citizen:\nBefore we proceed any <further>, hear me speak.\n" * 3
        return {
            "samples": [{"prompt": "First", "text": text}],
            "by_position": (1.5 + 2 / np.arange(1, 65)).tolist(),
        }
    if objective == "tags":
        words = ["Ann", "went", "to", "<b>Rome</b>"]
        return {
            "by_tag": [{"tag": tag, "words": 40, **row} for tag in TAGS],
            "by_entity": [{"tag": "person", "spans": 12, **row}],
            "examples": [
                {"words": words, "true": ["B-person", "O", "O", "B-place <i>"], "said": ["O"] * 4},
                {"words": words[:1], "true": ["B-person"], "said": ["B-person"]},
            ],
        }
    if objective == "transduction":
        return {
            "examples": [{"source": "abc", "target": "cba", "said": "cba"},
                         {"source": "a<b", "target": "b<a", "said": "b>a"}],
            "by_length": [{"length": n, "rows": 9, "accuracy": 1 - n / 40} for n in range(3, 12)],
        }  # fmt: skip
    past, true = np.sin(np.arange(480) / 4) + rng.normal(size=480) / 9, np.sin(np.arange(96) / 4)
    bands = {"0.1": true - 0.4, "0.5": true, "0.9": true + 0.4}
    fan = {
        "series": "north", "target": "load", "past": past.tolist(), "true": true.tolist(),
        "quantiles": {level: values.tolist() for level, values in bands.items()},
    }  # fmt: skip
    return {
        "fans": [fan, {**fan, "series": None}],
        "by_step": np.linspace(0.2, 0.5, 96).tolist(),
        "baselines": [{"name": "seasonal naive", "mse": 0.6, "mae": 0.5}],
    }


COUNTS = {
    "tokens": token_counts,
    "tags": tag_counts,
    "transduction": pair_counts,
    "forecast": window_counts,
}


def write(run_dir: Path, objective: str, *, num_rows: int = 300, opened: bool = True) -> Path:
    """Write a run folder and return it."""
    rng = np.random.default_rng(0)
    (run_dir / "predictions").mkdir(parents=True)
    tags = TAGS if objective == "tags" else ()
    schema = {
        "kind": "text", "objective": objective, "num_rows": 5 * num_rows, "classes": list(tags),
        "class_names": list(tags), "class_counts": [900, 50, 40, 30][: len(tags)],
        "text": {"vocab_size": 65} if objective == "tokens" else None,
    }  # fmt: skip
    validation, test = COUNTS[objective](rng, num_rows), COUNTS[objective](rng, num_rows)
    save_file(validation, run_dir / "predictions/validation.safetensors")
    metrics = metrics_of(objective, validation, train_counts=())
    rows = []
    for epoch in range(1, 9):
        where = {"step": 250 * epoch, "epoch": epoch, "seconds": 10.0 * epoch}
        rows.append({**where, "split": "train", "loss": 1 / epoch})
        scores = {name: value for name, value in metrics.items() if name != "loss"}
        rows.append({**where, "split": "validation", "loss": 1.1 / epoch, **scores})
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run_dir / "sequences.json").write_text(json.dumps(shown(objective, rng)))
    if opened:
        save_file(test, run_dir / "predictions/test.safetensors")
        fake_objectives._open_test(run_dir, objective, test, schema)
    last = {**rows[-1], "rmse": 1.0}  # which this objective does not have
    run = fake_objectives._run_json("regression", schema, [last, last], num_rows)
    best = {**{name: value for name, value in rows[-1].items() if name != "split"},
            "metric": "loss", "value": rows[-1]["loss"]}  # fmt: skip
    run |= {"recipe": f"of-{objective}", "schema": schema, "decision": None, "best": best}
    run |= {"last": best, "criteria": {"loss": 1.7, "r2": 0.5}}
    run["data"] |= {"roles": {}, "weights": None}
    (run_dir / "run.json").write_text(json.dumps(run, indent=1))
    return run_dir


if __name__ == "__main__":
    from mlexpert.evidence.report import render

    for name in COUNTS:
        print(render(write(Path(sys.argv[1]) / name, name)))
