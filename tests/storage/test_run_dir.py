"""Which run a folder holds, and what is refused there before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlexpert.errors import InputError
from mlexpert.storage.run_dir import earlier_run, is_finished


def facts(**changes: Any) -> dict[str, Any]:
    roles = {"subgroups": changes.pop("subgroups", None)}
    data = {"fingerprint": "f" * 64, "split_fingerprint": "5" * 64, "roles": roles}
    whole = {"recipe": "r", "version": 1, "config": {"lr": 0.1}, "data": data, "criteria": {}}
    return {**whole, "status": "finished", **changes}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run.json").write_text(json.dumps(facts(subgroups="sex")))
    return tmp_path


def test_the_same_run_is_finished_and_an_empty_folder_is_not(folder: Path) -> None:
    assert is_finished(folder, facts(subgroups=["sex"]))
    assert not is_finished(folder / "new", facts())


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (facts(subgroups=["race"]), r"subgroups: \['sex'\] there, \['race'\] here"),
        (facts(subgroups="sex", criteria={"mcc": 0.5}), r"criteria\.mcc: None there, 0\.5 here"),
        (facts(subgroups="sex", config={"lr": 0.2}), r"config\.lr: 0\.1 there, 0\.2 here"),
    ],
)
def test_what_a_finished_run_was_not_asked_is_no_answer(
    folder: Path, now: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        is_finished(folder, now)


def test_an_interrupted_run_takes_up_new_criteria(folder: Path) -> None:
    (folder / "run.json").write_text(json.dumps(facts(status="interrupted")))
    assert not is_finished(folder, facts(criteria={"mcc": 0.5}, subgroups=["sex"]))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"status": "finished"}', "null"])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run\.json.*choose another run_dir="):
        earlier_run(tmp_path)
