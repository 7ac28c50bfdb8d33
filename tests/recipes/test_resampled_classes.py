"""The ideas of class-balanced sampling and classifier re-training, on small long-tailed digits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mlexpert.blocks.samplers.class_balanced import class_balanced
from mlexpert.blocks.samplers.progressive import progressive
from mlexpert.errors import InputError
from mlexpert.networks.heads import head_of
from mlexpert.preparation import Roles, prepare
from mlexpert.recipes import get
from mlexpert.training.method import Task
from tests.recipes.test_long_tailed_losses import tail_recall
from tests.small_data import of_kind


def built(name: str, kind: str, **fields):
    recipe = get(name, **fields)
    prepared = prepare(recipe, of_kind(kind), Roles())
    settled = recipe.settle(prepared.schema)
    torch.manual_seed(0)
    return settled, settled.build(prepared.schema)


def scores_of(run: Path) -> list[dict]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["split"] == "validation"]


def test_a_head_of_balanced_classes_and_balanced_rows_lift_the_tail(tmp_path: Path) -> None:
    plain = tail_recall("imbalanced-cls/plain", tmp_path / "plain")
    crt = tail_recall("imbalanced-cls/crt", tmp_path / "crt", head_epochs=6)
    rows = tail_recall("imbalanced-cls/class-balanced-sampling", tmp_path / "rows")
    assert min(crt, rows) > plain + 0.05
    # Both are judged by natural probabilities; the first stage as one of plain training.
    scored = scores_of(tmp_path / "crt")
    assert [row["task"] for row in scored] == [0] * 15 + [1] * 6
    assert [row["epoch"] for row in scored] == list(range(1, 22))
    alike = [row["log_loss"] for row in scores_of(tmp_path / "plain")]
    assert [row["log_loss"] for row in scored[:15]] == alike


@pytest.mark.parametrize("kind", ["image", "text", "tabular"])
def test_the_second_stage_moves_the_head_alone_from_its_first_weights(kind: str) -> None:
    recipe, parts = built("imbalanced-cls/crt", kind, head_epochs=4)
    (stage,) = parts.stages
    model, head = parts.network.model, head_of(parts.network.model)[2]
    moved = {id(p) for group in stage.optimizer.param_groups for p in group["params"]}
    assert moved == {id(p) for p in head.parameters()}
    frozen = {id(p) for module in stage.frozen for p in module.parameters()}
    assert not moved & frozen and parts.order is None
    assert (stage.epochs, stage.order) == (4, class_balanced)
    assert stage.optimizer.param_groups[0]["lr"] == recipe.lr
    first = {name: value.clone() for name, value in head.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    for number in (0, 1):
        parts.method.begin_task(model, Task(number, torch.ones(2)))
        same = [torch.equal(first[name], value) for name, value in head.state_dict().items()]
        assert all(same) if number else not any(same)


def test_rows_are_balanced_from_the_first_epoch_or_more_and_more() -> None:
    name = "imbalanced-cls/class-balanced-sampling"
    assert built(name, "tabular")[1].order is class_balanced
    assert built(name, "tabular", progressive=True)[1].order is progressive


def test_a_second_stage_without_epochs_is_refused() -> None:
    with pytest.raises(InputError, match="head_epochs=0; it has to be at least 1"):
        get("imbalanced-cls/crt", head_epochs=0)
