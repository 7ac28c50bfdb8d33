"""A made-up comparison of made-up runs, for the tests of its report and for looking at it.

`python tests/evidence/fake_comparison.py FOLDER` writes some below FOLDER and renders them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_run

from mlexpert.evidence.comparison.results import HEADLINES, metric_scores, results_of
from mlexpert.evidence.record import RunRecord, read_run
from mlexpert.evidence.repeats import Varies
from mlexpert.training.tracking import write_json

PLAIN, ADJUSTED, FOCAL = "imbalanced-cls/plain", "imbalanced-cls", "imbalanced-cls/focal"
REASON = "imbalanced-cls/smote takes tabular inputs, and these rows are image"
SKILLS = {PLAIN: 2.0, ADJUSTED: 2.3, FOCAL: 1.7}


def write(
    root: Path,
    kind: fake_run.Kind,
    skills: Mapping[str, float] = SKILLS,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    varies: Varies = "splits",
    baseline: str | None = None,
    lost: Sequence[tuple[str, int]] = (),
) -> Path:
    """Write the folder of a finished comparison, with its runs, and return it."""
    runs: dict[str, dict[int, RunRecord]] = {name: {} for name in skills}
    listed: list[dict[str, Any]] = []
    for seed in seeds:
        for name, skill in skills.items():
            place = f"{name.replace('/', '-')}/{seed}"
            run = {"name": name, "seed": seed, "run": place}
            if (name, seed) in lost:
                listed.append({**run, "status": "failed", "error": "out of <b>memory"})
                continue
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            fake_run.write(root / place, replace(kind, skill=skill, openings=0), seed=seed)
            record = runs[name][seed] = read_run(root / place)
            scores = metric_scores(record, "validation")
            more = {"seconds": 112.4, "parameters": 272474, "validation": scores, "test": None}
            listed.append({**run, "status": "finished", **more})
    data = next(iter(runs[next(iter(skills))].values())).run["data"]
    parts = {name: part["rows"] for name, part in data["parts"].items()}
    metrics = list(HEADLINES["classification"])
    results = results_of(
        runs, seeds=seeds, metrics=metrics, part="validation", varies=varies, baseline=baseline
    )
    facts = {
        "seeds": list(seeds),
        "metrics": metrics,
        "baseline": baseline,
        "final_test": None,
        "objective": "classification",
        "data": {**data, "parts": parts, "num_classes": len(kind.names)},
        "recipes": {
            name: {"recipe": name, "version": 1, "config": {"epochs": None, "tau": number}}
            for number, name in enumerate(skills)
        },
        "left_out": {"imbalanced-cls/smote": REASON},
        "status": "finished",
        "started": "2026-11-21T09:58:11+00:00",
        "runs": listed,
        "setup": [{"torch": "2.14.1", "python": "3.11.7"}],
        "results": results,
    }
    write_json(root / "comparison.json", facts)
    return root


if __name__ == "__main__":
    from mlexpert.evidence.comparison.report import write_comparison

    out = Path(sys.argv[1])
    fashion, binary, hundred = (fake_run.KINDS[name] for name in ("fashion", "binary", "hundred"))
    print(write_comparison(write(out / "fashion", fashion, lost=[(FOCAL, 1)])))
    print(write_comparison(write(out / "rows", binary, seeds=[0], varies="rows")))
    print(write_comparison(write(out / "many", hundred, seeds=range(5), baseline=PLAIN)))
