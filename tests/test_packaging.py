"""The project's own files agree with one another."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import mlexpert

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def name_of(requirement: str) -> str:
    return re.split(r"[\[<>=!~ ]", requirement)[0].replace("_", "-").lower()


def test_constraints_pin_every_requirement_exactly():
    lines = [
        line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] != "#"
    ]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.+]+", line) for line in lines)
    pinned = {line.split("==")[0] for line in lines}
    extras = PROJECT["optional-dependencies"].values()
    wanted = {name_of(item) for group in [PROJECT["dependencies"], *extras] for item in group}
    assert wanted - pinned == set()


def test_the_version_has_its_entry_in_the_changelog():
    assert f"## [{mlexpert.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_demo_data_comes_with_its_notice_and_stays_small():
    folder = ROOT / "mlexpert" / "data" / "demo"
    assert "MIT License" in (folder / "NOTICE").read_text()
    assert sum(file.stat().st_size for file in folder.iterdir()) < 5_000_000
