"""The committed pages say what the committed figures say."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_page_of_the_first_steps_is_made_from_its_figures(tmp_path: Path) -> None:
    folder = ROOT / "benchmarks/first_steps"
    module = runpy.run_path(str(folder / "run.py"))
    module["write_page"](json.loads((folder / "results.json").read_text()), tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == (folder / "results.md").read_text()


def test_the_page_of_the_trainer_is_made_from_its_figures(tmp_path: Path) -> None:
    folder = ROOT / "benchmarks/trainer"
    results = json.loads((folder / "results.json").read_text())
    module = runpy.run_path(str(folder / "table.py"))
    module["write_page"](results, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == (folder / "results.md").read_text()
    on_cpu = [row for row in results["loops"] if row["device"] == "cpu"]
    assert all(row["same_losses"]["equal"] == row["steps"] for row in on_cpu)


@pytest.mark.parametrize(
    ("name", "script"), [("memory", "run.py"), ("precision", "page.py"), ("resume", "run.py")]
)
def test_the_other_pages_are_made_from_their_figures(
    name: str, script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ROOT / "benchmarks" / name
    monkeypatch.syspath_prepend(str(folder))  # as the script itself is run
    for module in ("networks", "page", "trainings"):  # of another benchmark
        monkeypatch.delitem(sys.modules, module, raising=False)
    write_page = runpy.run_path(str(folder / script))["write_page"]
    write_page(json.loads((folder / "results.json").read_text()), tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == (folder / "results.md").read_text()


def test_every_run_that_was_killed_ended_as_it_would_have() -> None:
    moments = json.loads((ROOT / "benchmarks/resume/results.json").read_text())["moments"]
    assert len(moments) == 50 and all(row["equal"] for row in moments)


def test_memory_is_predicted_within_five_per_cent_and_confirmed_by_few_probes() -> None:
    networks = json.loads((ROOT / "benchmarks/memory/results.json").read_text())["networks"]
    whole = [network["peaks"][-1] for network in networks]
    errors = [abs(peak["predicted"] / peak["measured"] - 1) for peak in whole]
    assert len(errors) >= 5 and max(errors) < 0.05
    for chosen in (chosen for network in networks for chosen in network["chosen"]):
        confirmed = [probe["size"] for probe in chosen["probes"] if probe["fits"]]
        assert len(chosen["probes"]) <= 6 and chosen["size"] in [*confirmed, 0]
