"""A stream from one line: scenarios, what predict may be told, stops, saving, learning on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file
from sklearn.datasets import load_digits

import mlexpert
from mlexpert.blocks.layers.task_classes import MASKED, TaskClasses
from mlexpert.data import stream
from mlexpert.errors import InputError
from mlexpert.fitted import Fitted
from mlexpert.fitted.continual import ContinualFitted
from mlexpert.recipes import get
from mlexpert.training.interrupt import Interrupted
from mlexpert.training.step import Step

DIGITS = load_digits()
IMAGES = np.round(DIGITS.images * (255 / 16)).astype(np.uint8)
LABELS = DIGITS.target
QUICK: dict[str, Any] = {
    "backbone": "mlp", "epochs": 1, "precision": "fp32", "batch_size": 32, "microbatch": None,
}  # fmt: skip


def fit(name: str, folder: Path, rows: Any = None, **fields: Any) -> ContinualFitted:
    some = slice(0, 900)
    recipe = get(name, **{**QUICK, **fields})
    rows = (IMAGES[some], LABELS[some]) if rows is None else rows
    fitted = recipe.fit(rows, run_dir=folder, progress=False)
    assert isinstance(fitted, ContinualFitted)
    return fitted


def weights(fitted: Fitted) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in fitted.parts.network.model.parameters()])


def test_classes_are_masked_until_they_are_met() -> None:
    classes = TaskClasses(4)
    classes.see(torch.tensor([1, 1]), 0)
    classes.see(torch.tensor([3, 1]), 1)
    logits = torch.zeros(2, 4)
    assert classes.of_seen(logits).tolist() == [[MASKED, 0, MASKED, 0]] * 2
    own = classes.of_tasks(torch.zeros(2, 5, 4), torch.tensor([1, 0]))
    assert own[0, 3].tolist() == [MASKED, MASKED, MASKED, 0]
    assert own[1, 0].tolist() == [MASKED, 0, MASKED, MASKED]
    assert classes.tasks_of(torch.tensor([3, 1, 0])).tolist() == [1, 0, -1]


def test_fine_tuning_knows_the_last_task_alone_and_says_so(tmp_path: Path) -> None:
    fitted = fit("continual-cls/naive", tmp_path, epochs=5)
    matrix = fitted.accuracy_matrix()
    assert matrix.shape == (6, 5)
    assert np.isnan(matrix[0]).all() and np.isnan(matrix[1, 1:]).all()  # nothing met, nothing named
    assert matrix[5, 4] > 0.8 and matrix[5, :3].max() < 0.2
    metrics = fitted.evaluate()
    assert metrics["average_accuracy"] == pytest.approx(matrix[5].mean())
    assert metrics["task_aware_accuracy"] > metrics["average_accuracy"] + 0.3
    best = np.nanmax(matrix[1:5, :4], axis=0)
    assert metrics["forgetting"] == pytest.approx((best - matrix[5, :4]).mean())
    tested = fitted.final_test(reason="test")
    arrays = load_file(tmp_path / "predictions/test.safetensors")
    right = arrays["decisions"] == arrays["targets"]
    by_task = [right[arrays["tasks"] == task].mean() for task in range(5)]
    assert tested["average_accuracy"] == pytest.approx(np.mean(by_task))


def test_the_record_says_what_the_stream_was(tmp_path: Path) -> None:
    fit("continual-cls/naive", tmp_path, num_tasks=3, order_seed=4)
    told = json.loads((tmp_path / "run.json").read_text())["stream"]
    assert sorted(label for labels in told["classes"] for label in labels) == list(range(10))
    assert [len(labels) for labels in told["classes"]] == [4, 3, 3]
    assert (told["scenario"], told["num_tasks"]) == ("class", 3)


def test_a_task_is_told_in_its_scenario_alone(tmp_path: Path) -> None:
    told = fit("continual-cls/naive", tmp_path / "task", scenario="task")
    for task in range(5):
        found = set(told.predict(IMAGES[:50], task=task).tolist())
        assert found <= {2 * task, 2 * task + 1}
    mixed = told.predict(IMAGES[:50], task=LABELS[:50] // 2)
    assert (mixed // 2 == LABELS[:50] // 2).all()
    sure = told.predict_proba(IMAGES[:5], task=2)
    assert sure[:, 4:6].sum(axis=1) == pytest.approx(1)
    for wrong, said in (
        (None, "needs the task of the rows"),
        (7, "task 7 was not met"),
        ([0, 1], "2 tasks for 5 rows"),
        (0.5, "whole number"),
    ):
        with pytest.raises(InputError, match=said):
            told.predict(IMAGES[:5], task=wrong)
    with pytest.raises(InputError, match="predict_proba"):
        told.predict_topk(IMAGES[:5], 2)
    with pytest.raises(InputError, match="cannot be told"):
        told.predict_stream(IMAGES[:5])
    assert told.evaluate()["accuracy"] == pytest.approx(told.evaluate(held(told))["accuracy"])

    untold = fit("continual-cls/naive", tmp_path / "class")
    with pytest.raises(InputError, match="another problem's"):
        untold.predict(IMAGES[:5], task=0)


def held(fitted: Fitted) -> tuple[np.ndarray, np.ndarray]:
    assert fitted._held is not None
    (rows,) = fitted._held.validation
    return rows.inputs.stack()[..., 0], np.asarray(rows.targets)


def test_domains_share_their_labels(tmp_path: Path) -> None:
    fitted = fit("continual-cls/naive", tmp_path, scenario="domain", epochs=3)
    assert fitted.classes_.tolist() == [0, 1]
    assert np.isnan(fitted.accuracy_matrix(task_aware=True)).all()
    assert np.isfinite(fitted.accuracy_matrix()).all()
    assert "task_aware_accuracy" not in fitted.final_test(reason="test")


def test_a_stream_without_boundaries_passes_once(tmp_path: Path) -> None:
    fitted = fit("continual-cls/naive", tmp_path, boundaries=False, blur=0.5, epochs=None)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    trained = [row["train_rows"] for row in rows if row["split"] == "tasks"]
    assert sum(trained) == sum(fitted.schema.class_counts)  # every row once
    seen = [row["seen"] for row in rows if row["split"] == "tasks"]
    assert seen[-1] == [0, 1, 2, 3, 4]


def test_what_a_stream_is_made_of_is_the_streams(tmp_path: Path) -> None:
    mine = stream((IMAGES[:600], LABELS[:600]), num_tasks=2, scenario="task")
    with pytest.raises(InputError, match=r"scenario='task'"):
        fit("continual-cls/naive", tmp_path / "a", mine)
    fitted = fit("continual-cls/naive", tmp_path / "b", mine, scenario="task")
    assert fitted.num_tasks == 2


def test_inputs_are_described_by_the_first_task_alone(tmp_path: Path) -> None:
    bright = np.where(LABELS[:, None, None] < 2, IMAGES // 2, IMAGES)
    fitted = fit("continual-cls/naive", tmp_path, (bright[:500], LABELS[:500]))
    assert fitted.schema.image is not None
    assert fitted.schema.image.mean[0] < 0.75 * (bright[:500].mean() / 255)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"boundaries": False, "epochs": 3}, "epochs=3"),
        ({"blur": 0.5}, "blur=0.5"),
        ({"scenario": "class", "by": "hour"}, "by='hour'"),
        ({"boundaries": False, "scenario": "task"}, "tells the task"),
        ({"num_tasks": 0}, "num_tasks=0"),
        ({"scenario": "tasks"}, "scenario='tasks'"),
    ],
)
def test_fields_that_cannot_be_meant_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        get("continual-cls/naive", **fields)


def test_folds_and_time_do_not_go_with_a_stream(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folds="):
        get("continual-cls/naive").fit((IMAGES, LABELS), folds=3, run_dir=tmp_path / "a")
    with pytest.raises(InputError, match="num_tasks=11"):
        fit("continual-cls/naive", tmp_path / "b", num_tasks=11)


STATEFUL = ("continual-cls/naive", "continual-cls/der++", "continual-cls/ewc", "continual-cls/lwf",
            "continual-cls/icarl", "continual-cls/si")  # fmt: skip


@pytest.mark.parametrize("name", STATEFUL)
def test_stopping_inside_a_later_task_and_going_on_is_bit_equal(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(name, tmp_path / "whole")
    steps, step = 0, Step.__call__

    def stop(self: Step, *args: Any, **named: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 12:  # within the third task
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *args, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Step, "__call__", stop)
        with pytest.raises(Interrupted, match="run_dir="):
            fit(name, tmp_path / "broken")
    resumed = fit(name, tmp_path / "broken")
    assert torch.equal(weights(whole), weights(resumed))
    ours, theirs = whole.parts.method.state_dict(), resumed.parts.method.state_dict()
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        same = torch.equal(value, theirs[key]) if isinstance(value, torch.Tensor) else (
            value == theirs[key]
        )  # fmt: skip
        assert same, key
    assert np.array_equal(whole.accuracy_matrix(), resumed.accuracy_matrix(), equal_nan=True)


@pytest.mark.parametrize("name", STATEFUL)
def test_a_saved_model_learns_on_as_the_fitted_one_does(name: str, tmp_path: Path) -> None:
    early = LABELS[:900] < 6
    first = (IMAGES[:900][early], LABELS[:900][early])
    later = (IMAGES[:900][~early], LABELS[:900][~early])
    fitted = fit(name, tmp_path / "first", first, num_tasks=3)
    before = weights(fitted).clone()
    on = fitted.learn(later, run_dir=tmp_path / "on", progress=False)
    assert torch.equal(before, weights(fitted))
    assert on.classes_.tolist() == list(range(10)) and on.num_tasks == 4
    assert on.accuracy_matrix().shape == (5, 4)
    assert np.isfinite(on.accuracy_matrix()[4]).all()
    fitted.save(tmp_path / "saved")
    loaded = mlexpert.load(tmp_path / "saved")
    assert isinstance(loaded, ContinualFitted)
    again = loaded.learn(later, run_dir=tmp_path / "again", progress=False)
    assert torch.equal(weights(on), weights(again))
    again.save(tmp_path / "twice")
    back = mlexpert.load(tmp_path / "twice")
    assert (back.predict(IMAGES[:99]) == on.predict(IMAGES[:99])).all()


def test_learning_on_refuses_what_would_spoil_it(tmp_path: Path) -> None:
    early = LABELS < 4
    rows = (IMAGES[early], LABELS[early])
    fitted = fit("continual-cls/naive", tmp_path / "class", rows, num_tasks=2)
    with pytest.raises(InputError, match="validation or test rows of an earlier task"):
        fitted.learn((IMAGES[:300], LABELS[:300]), run_dir=tmp_path / "a", progress=False)
    with pytest.raises(InputError, match="another type"):
        fitted.learn(
            (IMAGES[~early], LABELS[~early].astype(str)), run_dir=tmp_path / "b", progress=False
        )
    told = fit("continual-cls/naive", tmp_path / "task", rows, num_tasks=2, scenario="task")
    more = np.flipud(IMAGES[~early]), LABELS[~early] % 2
    with pytest.raises(InputError, match="every task has its own"):
        told.learn(more, run_dir=tmp_path / "c", progress=False)
    domain = fit("continual-cls/naive", tmp_path / "domain", rows, num_tasks=2, scenario="domain")
    with pytest.raises(InputError, match="same"):
        domain.learn([(IMAGES[~early], LABELS[~early])], run_dir=tmp_path / "d", progress=False)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", ["gdumb", "icarl"])
def test_a_memory_too_small_for_all_classes_is_refused_before_training(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="at least 10"):
        fit(f"continual-cls/{name}", tmp_path / "run", buffer_size=9)
    assert not (tmp_path / "run").exists()


def test_solved_recipes_average_no_weights() -> None:
    with pytest.raises(InputError, match=r"ema=0\.9"):
        get("continual-cls/ranpac", ema=0.9)


def test_tasks_learned_at_once_are_counted(tmp_path: Path) -> None:
    fitted = fit("continual-cls/joint", tmp_path / "run", num_tasks=2)
    assert fitted.num_tasks == 2
    assert fitted.classes_by_task() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert mlexpert.load(fitted.save(tmp_path / "saved")).num_tasks == 2


def test_a_run_that_learned_on_finds_its_rows_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(240, 3)), columns=list("abc"))
    rows["y"] = (rows["a"] + rng.normal(size=240) > 0).astype(int)
    rows["site"] = np.arange(240) % 4
    rows[rows["site"] < 2].to_csv(tmp_path / "first.csv", index=False)
    rows[rows["site"] >= 2].to_csv(tmp_path / "more.csv", index=False)
    recipe = get("continual-cls/naive", scenario="domain", by="site", epochs=1)
    fitted = recipe.fit(tmp_path / "first.csv", target="y", run_dir=tmp_path / "a", progress=False)
    on = fitted.learn(tmp_path / "more.csv", run_dir=tmp_path / "b", progress=False)
    assert on.num_tasks == 4  # the values of the column are the tasks, here as well
    again = Fitted.from_run(tmp_path / "b")
    held = again.validation_so_far()
    assert held is not None and np.unique(held.tasks).tolist() == [2, 3]
    found = again.final_test(reason="test")["average_accuracy"]
    assert found == on.final_test(reason="test")["average_accuracy"]


def test_classes_are_learned_one_by_one(tmp_path: Path) -> None:
    early, sevens = LABELS < 4, LABELS == 7
    rows = (IMAGES[early], LABELS[early])
    fitted = fit("continual-cls", tmp_path / "a", rows, num_tasks=2, epochs=5)
    on = fitted.learn((IMAGES[sevens], LABELS[sevens]), run_dir=tmp_path / "b", progress=False)
    assert on.classes_.tolist() == [0, 1, 2, 3, 7] and on.num_tasks == 3
    assert on.accuracy_matrix()[3, 2] > 0.9
    assert on.final_test(reason="test")["accuracy"] > 0.9
    with pytest.raises(InputError, match="one class only"):
        fit("continual-cls", tmp_path / "c", (IMAGES[sevens], LABELS[sevens]), num_tasks=1)
    with pytest.raises(InputError, match="one class only"):
        fit("continual-cls", tmp_path / "d", (IMAGES[sevens], LABELS[sevens]))
