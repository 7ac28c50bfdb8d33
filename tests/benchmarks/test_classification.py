"""The page of the classification benchmark says what its lines say, and the verdicts are right."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.benchmarks.lines import BENCHMARKS, Load, committed_lines, modules_of
from tests.benchmarks.lines import line as plain_line

FOLDER = BENCHMARKS / "classification"
COSTS = ("train_cpu_seconds", "train_wall_seconds", "predict_cpu_seconds", "peak_mib")


@pytest.fixture
def load() -> Iterator[Load]:
    with modules_of(FOLDER) as load:
        yield load


def line(task: str, method: str, seed: int, **values: object) -> dict:
    return plain_line(task, method, seed, **{"notes": {}, **dict.fromkeys(COSTS, 1.0), **values})


def test_the_page_is_made_from_its_lines(load, tmp_path: Path) -> None:
    lines = committed_lines(FOLDER)
    load("table").write_page(lines, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == (FOLDER / "results.md").read_text()
    assert not pd.DataFrame(lines).duplicated(["task", "method", "seed"]).any()


def test_seconds_of_two_machines_are_not_averaged(load, tmp_path: Path) -> None:
    scores = {"accuracy": 0.9, "log_loss": 0.3}
    rows = [
        line("mnist", "image-cls/fast", 0, machine="old", train_cpu_seconds=30.0, **scores),
        line("mnist", "image-cls/fast", 1, machine="new", train_cpu_seconds=10.0, **scores),
    ]
    load("table").write_page(rows, tmp_path / "page.md")
    (row,) = [
        text for text in (tmp_path / "page.md").read_text().splitlines() if "| `image" in text
    ]
    assert "| 10 / 30 |" in row
    assert row.endswith("| new / old |")


def test_rounds_of_speed_are_compared_within_a_machine(load) -> None:
    """The same round of both: the slow machine's loop is not divided by the fast one's epoch."""
    seconds = {("old", "ours"): 10.0, ("old", "DataLoader loop"): 30.0, ("new", "ours"): 4.0}
    seconds["new", "DataLoader loop"] = 8.0
    rows = [
        line("speed-tables", name, 0, machine=on, cpu_seconds=s, wall_seconds=s, epoch_rows=100)
        for (on, name), s in seconds.items()
    ]
    *_, table = load("speed_table").speed_section(pd.DataFrame(rows))
    assert "3.00 (3.00 to 3.00) | old |" in table and "2.00 (2.00 to 2.00) | new |" in table


def test_over_folds_a_difference_needs_the_corrected_test(load) -> None:
    """By hand: mean .02, sd .01 over 5 folds gives t = .02 / (.01 sqrt(1/5 + 1/4)) = 2.981."""
    steps = np.array([-1, 1, 0, 0, 0]) * 0.01 * np.sqrt(2) + 0.02
    frame = pd.DataFrame(
        [line("phoneme", "tabular-cls", k, roc_auc=0.9 + steps[k]) for k in range(5)]
        + [line("phoneme", "near", k, roc_auc=0.9) for k in range(5)]
        + [line("phoneme", "few", k, roc_auc=0.9) for k in range(1)]
    )
    verdicts, tasks = load("verdicts"), load("tasks").TASKS
    said = verdicts.verdicts(frame, "tabular-cls", ["near", "few"], "roc_auc", tasks["phoneme"])
    p = 2 * stats.t.sf(0.02 / (0.01 * np.sqrt(1 / 5 + 1 / 4)), 4)
    assert f"p {p:.3f}".replace("0.", ".", 1) in said["near"] and "**ahead**" in said["near"]
    assert "not tested, n = 1" in said["few"]


def test_less_is_better_where_it_is(load) -> None:
    frame = pd.DataFrame(
        [line("phoneme", "tabular-cls", k, log_loss=0.2 + k / 1e4) for k in range(5)]
        + [line("phoneme", "worse", k, log_loss=0.4) for k in range(5)]
    )
    verdicts, tasks = load("verdicts"), load("tasks").TASKS
    said = verdicts.verdicts(frame, "tabular-cls", ["worse"], "log_loss", tasks["phoneme"])
    assert "**ahead**" in said["worse"]


@pytest.mark.parametrize(("flips", "verdict"), [(0, "level"), (40, "**behind**")])
def test_on_test_rows_every_seed_has_to_agree(load, flips: int, verdict: str) -> None:
    theirs = np.ones(100, dtype=bool)
    seeds = []
    for seed in range(2):
        ours = theirs.copy()
        ours[: 40 if seed == 0 else flips] = False
        for method, right in (("text-cls", ours), ("rival", theirs)):
            packed = base64.b64encode(np.packbits(right).tobytes()).decode()
            values = {"accuracy": right.mean(), "right": packed, "rows": [500, 100]}
            seeds.append(line("trec-6", method, seed, **values))
    verdicts, tasks = load("verdicts"), load("tasks").TASKS
    frame = pd.DataFrame(seeds)
    said = verdicts.verdicts(frame, "text-cls", ["rival"], "accuracy", tasks["trec-6"])
    assert said["rival"].endswith(verdict)


def test_a_page_of_all_kinds_is_written(load, tmp_path: Path) -> None:
    rows = []
    tasks: dict = load("tasks").TASKS
    methods: ModuleType = load("methods")
    for name, task in tasks.items():
        for method, runs in methods.methods(name).items():
            if method in methods.ON_GPU:
                continue
            scores = dict.fromkeys(task.shown, 0.5)
            right = base64.b64encode(bytes(3)).decode()
            rows += [line(name, method, seed, right=right, **scores) for seed in range(runs)]
    for method in ("ours", "DataLoader loop"):
        seconds = 2.0 if method == "ours" else 5.0
        speed = {"cpu_seconds": seconds, "wall_seconds": seconds, "epoch_rows": 100}
        rows.append(line("speed-tables", method, 0, **speed))
    load("table").write_page(rows, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert page.count("\n## ") == len(tasks) + 2
    assert "2.50 (2.50 to 2.50)" in page and "need a GPU" in page


def test_folds_cover_every_row_once_and_texts_stand_on_one_side(load, tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["a b", "c", "a b", *map(str, range(37))], "label": [0, 1] * 20})
    frame.to_parquet(tmp_path / "sms_spam.parquet")
    task = load("tasks").TASKS["sms-spam"]
    splits = [task.split(number, tmp_path, smoke=False) for number in range(5)]
    tested = [text for split in splits for text in split.test.inputs["text"]]
    assert sorted(tested) == sorted(set(frame["text"]))
    for split in splits:
        assert not set(split.train.inputs["text"]) & set(split.test.inputs["text"])
