"""README and documentation: their Python runs, their commands exist, their links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mlexpert import recipes
from mlexpert.cli import app
from mlexpert.data import sources

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EACH = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def only_python(text: str) -> str:
    """Blank out all but the Python blocks, so that a failure names the page's own line."""
    kept, inside = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            inside = line == "```python"
            line = ""
        kept.append(line if inside else "")
    return "\n".join(kept) + "\n"


@pytest.fixture
def small_demo(tmp_path, monkeypatch):
    """A tenth of the packaged images, with every class, so that pages run in seconds."""
    for part, rows in (("train", 40), ("test", 20)):
        name = f"fashion_mnist_lt_{part}.parquet"
        table = pq.read_table(sources.DEMO / name)
        labels = table.column("label").to_pandas()
        pq.write_table(
            table.take(labels.groupby(labels).head(rows).index.to_numpy()), tmp_path / name
        )
    monkeypatch.setattr(sources, "DEMO", tmp_path)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name
)
def test_python_blocks_run(page, small_demo, cwd, monkeypatch):
    file = cwd / f"{page.stem.replace('-', '_')}_blocks.py"
    file.write_text(only_python(page.read_text()))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, file.stem, module)
    spec.loader.exec_module(module)
    assert (cwd / "runs").exists() or "fit(" not in file.read_text()


def commands(page: Path) -> list[list[str]]:
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("mlexpert ")]


@EACH
def test_commands_exist(page):
    known = {command.name for command in app().registered_commands}
    for _, command, *rest in commands(page):
        assert command in known
        if command in ("fit", "copy", "show"):
            name = rest[0]
            assert name == "NAME@VERSION" or recipes.find(name)
            flags = {word for word in rest if word.startswith("--")}
            fields = {
                f"--{item['name'].replace('_', '-')}" for item in recipes.describe(name)["fields"]
            }
            assert flags <= fields | {
                "--target",
                "--run-dir",
                "--fresh",
                "--profile",
                "--final-test",
                "--folds",
                "--sample-weight",
            }


@EACH
def test_links_lead_somewhere(page):
    generated = {"recipes/index.md"}
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert target in generated or (page.parent / target).exists(), target


def test_the_readme_lists_every_recipe():
    assert [
        name for name in recipes.names() if f"| `{name}` |" not in (ROOT / "README.md").read_text()
    ] == []
