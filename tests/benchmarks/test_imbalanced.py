"""The page of the imbalanced benchmark says what its lines say, and its targets are judged well."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mlexpert.recipes import get
from tests.benchmarks.lines import BENCHMARKS, Load, committed_lines, modules_of, state
from tests.benchmarks.lines import line as plain_line

FOLDER = BENCHMARKS / "imbalanced_cls"
CE, OURS = "imbalanced-cls/plain", "imbalanced-cls"
ARGMAX = "imbalanced-cls, argmax"
SHOWN = ("pr_auc", "roc_auc", "balanced_accuracy", "brier")


@pytest.fixture
def load() -> Iterator[Load]:
    with modules_of(FOLDER) as load:
        yield load


def committed() -> list[dict]:
    return committed_lines(FOLDER)


def line(task: str, method: str, seed: int, **values: object) -> dict:
    return plain_line(task, method, seed, **{"train_cpu_seconds": 1.0, **values})


def test_the_page_is_made_from_its_lines(load, tmp_path: Path) -> None:
    lines = committed()
    load("page").write_page(lines, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == (FOLDER / "results.md").read_text()
    assert not pd.DataFrame(lines).duplicated(["task", "method", "seed"]).any()


def test_every_line_is_of_a_training_that_is_planned(load) -> None:
    contestants, tasks = load("contestants"), load("protocol").TASKS
    for row in committed():
        if row["task"] in tasks:
            method = OURS if row["method"] == ARGMAX else row["method"]
            assert method in (*contestants.ours(row["task"]), *contestants.rivals(row["task"]))
            assert row["seed"] in tasks[row["task"]].seeds
        else:
            assert row["task"] in load("resampling_speed").CASES


@pytest.mark.parametrize("task", ["mammography", "phoneme", "adult"])
def test_the_front_page_quotes_the_measured_figures(task: str) -> None:
    text = (BENCHMARKS.parent / "README.md").read_text()
    ((own, best),) = re.findall(rf"^\| {task}, 5 folds \| (.*?) \| (.*?) \|", text, re.M)
    lines = pd.DataFrame(committed()).query("task == @task")
    means = lines.groupby("method")[list(SHOWN)].mean()
    assert own.replace("*", "").split(" / ") == as_quoted(means.loc[OURS])
    rivals = means[~means.index.str.startswith(OURS)]
    expected = [rivals[key].min() if key == "brier" else rivals[key].max() for key in SHOWN]
    assert [figure.split()[0] for figure in best.split(" / ")] == as_quoted(expected)


def as_quoted(means: Iterable[float]) -> list[str]:
    return [f"{mean:.{digits}f}"[1:] for mean, digits in zip(means, (3, 3, 3, 4), strict=True)]


@pytest.mark.parametrize(("gain", "seeds", "said"), [
    (0.03, 5, "met"), (0.02, 5, "**missed**"), (0.03, 4, "not measured"),
])  # fmt: skip
def test_a_gain_on_digits_needs_its_size_and_all_seeds(load, gain, seeds, said) -> None:
    lines = [line("digits-lt", CE, k, accuracy=0.89 + k / 1e4) for k in range(5)]
    lines += [line("digits-lt", OURS, k, accuracy=0.89 + gain + k / 1e4) for k in range(seeds)]
    found, text = state(load, lines, "adjustment afterwards: accuracy")
    assert found == said and f"+{gain:.3f}" in text
    assert ("4 of 5 seeds" in text) == (seeds == 4)


@pytest.mark.parametrize(("worst", "said"), [(0.71, "met"), (0.67, "**missed**")])
def test_three_points_on_a_long_tail_have_to_be_beyond_the_spread(load, worst, said) -> None:
    task, own = "cifar-10-lt", "imbalanced-cls/ldam-drw"
    lines = [line(task, ARGMAX, k, accuracy=a) for k, a in enumerate((0.66, 0.68, 0.67))]
    lines += [line(task, own, k, accuracy=a) for k, a in enumerate((worst, 0.74, 0.75))]
    assert state(load, lines, f"CIFAR-10-LT: `{own}`")[0] == said


def test_every_recipe_takes_the_fields_of_its_tasks(load) -> None:
    for name, task in load("protocol").TASKS.items():
        for method in load("contestants").ours(name):
            recipe = get(method, test=0.0, **task.fields)
            assert all(getattr(recipe, key) == value for key, value in task.fields.items())


def of_a_table(load, task: str, loss: float) -> list[dict]:
    """Lines in which ours is behind the best of imbalanced-learn by `loss` in balanced accuracy."""
    contestants, steps = load("contestants"), np.array([-1, 1, 0, 0, 0]) * 0.01 * np.sqrt(2)
    lines = []
    for k in range(len(contestants.methods(task)[OURS])):
        for name in contestants.IMBLEARN:
            best = 0.9 if name == "EasyEnsemble" else 0.8
            lines.append(line(task, name, k, pr_auc=0.5, balanced_accuracy=best))
        values = {"pr_auc": 0.6, "balanced_accuracy": 0.9 - loss + steps[k]}
        lines.append(line(task, OURS, k, **values))
    return lines


def test_the_best_rival_is_met_in_the_corrected_test(load) -> None:
    """By hand: mean -.05, sd .01 over 5 folds gives t = -.05 / (.01 sqrt(1/5 + 1/4)) = -7.45."""
    lines = of_a_table(load, "phoneme", 0.05)
    targets = load("targets")
    rivals = load("contestants").IMBLEARN
    found = targets.against(pd.DataFrame(lines), "phoneme", "balanced_accuracy", rivals)
    assert found.rival == "EasyEnsemble" and found.is_behind
    expected = 2 * stats.t.sf(0.05 / (0.01 * np.sqrt(1 / 5 + 1 / 4)), 4)
    assert found.p == pytest.approx(expected)
    few = [row for row in lines if row["method"] != "RUSBoost"]
    assert targets.against(pd.DataFrame(few), "phoneme", "balanced_accuracy", rivals) is None


@pytest.mark.parametrize(
    ("behind", "measured", "said"),
    [(0, 6, "met"), (1, 6, "met"), (2, 2, "**missed**"), (1, 5, "not measured"), (0, 5, "met")],
)
def test_five_of_six_tables(load, behind: int, measured: int, said: str) -> None:
    tasks = load("protocol").SIX[:measured]
    lines = []
    for k, task in enumerate(tasks):
        lines += of_a_table(load, task, 0.06 if k < behind else 0.001)
    found, text = state(load, lines, "Tables:")
    assert found == said and ("behind on mammography" in text) == (behind > 0)


def test_probabilities_are_judged_by_the_worst_method(load) -> None:
    contestants, tasks = load("contestants"), load("protocol").TASKS
    lines = []
    for task in tasks:
        for method in contestants.ours(task):
            seeds = contestants.methods(task).get(method, ())
            lines += [line(task, method, k, natural_brier=0.1) for k in seeds]
    assert state(load, lines, "Probabilities")[0] == "met"
    worse = [{**row} for row in lines]
    for row in worse:
        if row["task"] == "phoneme" and row["method"].endswith("smote"):
            row["natural_brier"] = 0.106
    found, text = state(load, worse, "Probabilities")
    assert found == "**missed**" and "1.060 times, `imbalanced-cls/smote` on phoneme" in text
    assert state(load, lines[:-60], "Probabilities")[0] == "not measured"


def test_speed_is_the_median_over_rounds_of_cpu_seconds(load) -> None:
    speed, lines = load("resampling_speed"), []
    for k in range(speed.ROUNDS):
        for method, seconds in (("ours", 2.0), (speed.LOOP, 4.2 if k else 3.0)):
            costs = {"cpu_seconds": seconds, "wall_seconds": 1.0, "epoch_rows": 100}
            lines.append(line("speed-adult", method, k, **costs))
    found, text = state(load, lines, "Speed, Adult")
    assert found == "met" and text == "2.10 times (1.50 to 2.10), 5 rounds"
    assert state(load, lines[:4], "Speed, Adult")[0] == "not measured"


def test_a_page_without_a_line_says_that_nothing_was_measured(load, tmp_path: Path) -> None:
    load("page").write_page([], tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert page.count("| not measured |") == len(load("targets").targets(pd.DataFrame()))
    assert "(needs a GPU)" in page


def test_the_scores_of_balanced_rows_are_weighed_back(load) -> None:
    """By hand: train 3 of class 0 and 1 of class 1, tested on one each."""
    tasks, module = load("borrowed"), load("train_one")
    train = tasks.Rows(np.zeros((4, 1)), np.array([0, 0, 0, 1]))
    test = tasks.Rows(np.zeros((2, 1)), np.array([0, 1]))
    found = module.scores(np.array([[0.8, 0.2], [0.6, 0.4]]), np.array([0, 0]), test, train)
    assert found["brier"] == pytest.approx((0.2**2 + 0.6**2) / 2)
    assert found["natural_brier"] == pytest.approx(0.75 * 0.2**2 + 0.25 * 0.6**2)
    assert "tail3_recall" not in found


def test_digits_have_the_rows_of_the_protocol(load) -> None:
    split = load("protocol").TASKS["digits-lt"].split(0, Path(), smoke=False)
    counts = np.bincount(split.train.targets)
    assert len(split.train) == 369 and counts.max() == 120 and counts.min() == 4
    assert np.bincount(split.test.targets).tolist() == [50] * 10
    seen = {row.tobytes() for row in split.train.inputs}
    assert sum(row.tobytes() in seen for row in split.test.inputs) == 0
