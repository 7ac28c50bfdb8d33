"""Writes the documentation's pages on recipes from the catalogue: an index, and one for each."""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the pages describe this checkout, whatever is installed

from mlexpert import recipes  # noqa: E402


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the recipes' pages into the navigation, after the tutorial."""
    pages: list[Any] = ["recipes/index.md", *({name: page_of(name)} for name in recipes.names())]
    assert config.nav is not None, "mkdocs.yml has a nav"
    config.nav.insert(2, {"Recipes": pages})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages; they are made in memory, so that none can be stale."""
    for name in recipes.names():
        files.append(File.generated(config, page_of(name), content=recipe_page(name)))
    files.append(File.generated(config, "recipes/index.md", content=index_page()))
    return files


def page_of(name: str) -> str:
    """Return the path of a recipe's page below `docs`."""
    return f"recipes/{name.replace('/', '-')}.md"


def index_page() -> str:
    """Return the page that lists the recipes."""
    rows = []
    for name in recipes.names():
        card = recipes.describe(name)
        page = Path(page_of(name)).name
        rows.append(f"| [`{name}`]({page}) | {card['version']} | {card['claim']} |")
    table = "\n".join(["| recipe | version | what it does |", "| --- | --- | --- |", *rows])
    return f"# Recipes\n\n{table}\n"


def recipe_page(name: str) -> str:
    """Return the page of one recipe: claim, command, fields, differences, result, source."""
    card = recipes.describe(name)
    source = Path(card["source"])
    fields = [
        f"| `{field['name']}` | {_code(field['type'])} | {_code(str(field['default']))} "
        f"| {html.escape(field['doc'])} |"
        for field in card["fields"]
    ]
    head = ["| field | type | default | what it is |", "| --- | --- | --- | --- |"]
    table = "\n".join([*head, *fields])
    pinned = f"{name}@{card['version']}"
    return f"""# {name}

**{card["claim"]}**

{card["about"]}

```bash
mlexpert fit {name} DATA
```

```python
from mlexpert.recipes import get

recipe = get("{pinned}")
```

## Fields

{table}

## Paper

{card["paper"]}

## Differences from the paper

{card["differs"]}

## Result

{result_of(card["results"])}

## Source

`{source.relative_to(ROOT)}`; copy it with `mlexpert copy {name}`.

```python
{source.read_text(encoding="utf-8")}```
"""


def result_of(results: str) -> str:
    """Return the benchmark page that a card names, fitted below a heading of the recipe's page."""
    file = ROOT / results.split()[0].rstrip(".,;") if results else None
    if file is None or not file.is_file():
        return "Not measured."
    text = file.read_text(encoding="utf-8")
    text = re.sub(r"^(#+) ", r"##\1 ", text, flags=re.MULTILINE)
    # Links to files beside it would lead out of the site.
    text = re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)[^)]+\)", r"\1", text)
    return f"From `{file.relative_to(ROOT)}`:\n\n{text}"


def _code(text: str) -> str:
    return f"<code>{html.escape(text).replace('|', '&#124;')}</code>"
