"""Replay from one line: what a memory holds, what it is worth, and where it may not look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from mlexpert.errors import InputError
from mlexpert.recipes import get
from mlexpert.recipes.continual_cls.gdumb import GDumb

DIGITS = load_digits()
IMAGES = np.round(DIGITS.images * (255 / 16)).astype(np.uint8)[:900]
LABELS = DIGITS.target[:900]
QUICK: dict[str, Any] = {
    "backbone": "mlp", "epochs": 3, "precision": "fp32", "batch_size": 32, "microbatch": None,
}  # fmt: skip


def fit(name: str, folder: Path, **fields: Any) -> Any:
    recipe = get(f"continual-cls/{name}", **{**QUICK, "buffer_size": 200, **fields})
    return recipe.fit((IMAGES, LABELS), run_dir=folder, progress=False)


def keys(rows: Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in (rows * 255).round().to(torch.uint8)}


@pytest.fixture(scope="module")
def forgotten(tmp_path_factory: pytest.TempPathFactory) -> float:
    recipe = get("continual-cls/naive", **QUICK)
    fitted = recipe.fit((IMAGES, LABELS), run_dir=tmp_path_factory.mktemp("naive"), progress=False)
    return fitted.evaluate()["average_accuracy"]


@pytest.mark.parametrize("name", ["er", "der++", "er-ace", "gdumb"])
def test_replay_remembers_and_never_replays_a_validation_row(
    name: str, tmp_path: Path, forgotten: float
) -> None:
    # The squares of logits, and a sample of few rows, want more steps.
    fitted = fit(name, tmp_path, epochs=20 if name in ("der++", "gdumb") else 3)
    assert fitted.evaluate()["average_accuracy"] > forgotten + 0.4
    memory = fitted.parts.method.memory
    assert len(memory) == 200
    drawn = memory.draw(200)
    kept = keys(drawn.inputs)
    (held,) = fitted._held.validation
    validation = keys(torch.from_numpy(held.inputs.stack()[..., 0])[:, None] / 255)
    every = keys(torch.from_numpy(IMAGES)[:, None] / 255)
    assert len(validation) > 100 and validation <= every
    assert kept <= every and not kept & validation
    assert set(drawn.targets.tolist()) == set(range(10))
    assert memory.rows.inputs.dtype == torch.uint8


def test_gdumb_trains_on_a_balanced_sample_and_begins_its_optimiser_anew(tmp_path: Path) -> None:
    recipe = GDumb(buffer_size=60, seed=3)
    targets = torch.from_numpy(LABELS)
    tasks = {number: torch.nonzero(targets // 2 == number).flatten() for number in range(5)}
    samples = [recipe.rows_of(tasks, targets, number) for number in range(5)]
    for number, rows in enumerate(samples):
        assert len(rows) == 60 == len(rows.unique())
        counts = torch.bincount(targets[rows], minlength=10)
        assert (counts[: 2 * number + 2] >= 60 // (2 * number + 2)).all()
        assert torch.equal(rows, recipe.rows_of(tasks, targets, number))
    shared = GDumb(buffer_size=60, scenario="domain").rows_of(tasks, targets % 2, 4)
    assert torch.bincount(targets[shared]).tolist() == [6] * 10  # of every domain alike
    later = recipe.rows_of({3: tasks[3], 4: tasks[4]}, targets, 4)  # the memory has those of 3
    assert targets[later].unique().tolist() == [8, 9]
    fitted = fit("gdumb", tmp_path, epochs=1, num_tasks=2)
    optimizers = {id(stretch.stage.optimizer) for stretch in stretches(fitted)}
    assert len(optimizers) == 2


def stretches(fitted: Any) -> Any:
    """What the recipe would train on if all its rows were the validation rows."""
    from mlexpert.fitting.assembly import _tasks
    from mlexpert.recipe import Encoded

    (held,) = fitted._held.validation
    network = fitted.parts.network
    data, tasks = fitted.recipe.encode(network, held, fitted.schema), _tasks(held)
    rows = Encoded(data, data, tasks, tasks)
    return fitted.recipe.stretches(fitted.parts, fitted.schema, rows)


@pytest.mark.parametrize("scenario", ["class", "domain", "task"])
def test_joint_training_is_one_stretch_of_all_rows(
    scenario: str, tmp_path: Path, forgotten: float
) -> None:
    recipe = get("continual-cls/joint", **{**QUICK, "epochs": 8}, scenario=scenario)
    fitted = recipe.fit((IMAGES, LABELS), run_dir=tmp_path, progress=False)
    assert fitted.evaluate()["average_accuracy"] > max(0.8, forgotten)
    (one,) = stretches(fitted)
    (held,) = fitted._held.validation
    assert len(one.train.targets) == len(held)
    if scenario != "domain":
        expected = torch.arange(10) // 2  # each class is of its own task, not of the first
        assert torch.equal(fitted.parts.decide.classes.task_of_class, expected)


def test_a_gem_forgets_less_where_the_task_is_told(tmp_path: Path) -> None:
    told = {"scenario": "task", "epochs": 5}
    a_gem = fit("a-gem", tmp_path / "a", **told).evaluate()
    recipe = get("continual-cls/naive", **{**QUICK, **told})
    naive = recipe.fit((IMAGES, LABELS), run_dir=tmp_path / "b", progress=False).evaluate()
    assert a_gem["forgetting"] < naive["forgetting"]


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("er", {"replay_share": 1.0}, "replay_share=1.0"),
        ("er", {"buffer_size": 0}, "buffer_size=0"),
        ("er-ace", {"replay_size": 0}, "replay_size=0"),
        ("der++", {"alpha": -1.0}, "alpha=-1.0"),
        ("a-gem", {"sharded": True}, "sharded=True"),
        ("gdumb", {"boundaries": False}, "boundaries=False"),
        ("joint", {"boundaries": False}, "boundaries=False"),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        get(f"continual-cls/{name}", **fields)
