"""Copies a recipe's file for a user to change, and loads the recipe of such a file."""

from __future__ import annotations

import sys
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

import mlexpert
from mlexpert import recipes
from mlexpert.errors import InputError, RunError
from mlexpert.recipe_card import COPY_AGAIN, ORIGIN_LINE, read_card, source_hash

if TYPE_CHECKING:
    from mlexpert.recipe import Recipe


def copy_recipe(name: str, file: str | Path | None = None) -> Path:
    """Write a recipe's file, verbatim, under a header that says where it comes from.

    Args:
        name: A recipe of the catalogue, or `name@version`.
        file: Where to; by default the name of the recipe's own file, in the working folder.

    Returns:
        The file that was written.

    Raises:
        InputError: There is no such recipe, or the file exists.
        RunError: The file cannot be written.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> copy_recipe("imbalanced-cls/plain", f"{folder}/mine.py").name
        'mine.py'
    """
    row = recipes.find(name)
    file = Path(row.file.name if file is None else file)
    if file.suffix != ".py":
        raise InputError(f"{file}: a copy is a Python file; end its name in .py.")
    text = header(row) + row.file.read_text(encoding="utf-8")
    try:
        with file.open("x", encoding="utf-8", newline="") as stream:
            stream.write(text)
    except FileExistsError:
        raise InputError(f"{file} exists and is not overwritten; name another file.") from None
    except OSError as error:
        raise RunError(f"{file} cannot be written: {error.strerror or error}.") from error
    return file


def header(row: recipes.Row) -> str:
    """Return the comment that stands above a copy of this recipe."""
    return (
        f"{ORIGIN_LINE}mlexpert {mlexpert.__version__}, recipe {row.name}@{row.version}\n"
        f"# SHA-256 of all below this header when it was copied: {source_hash(row.file)}\n"
        f"# Run it: python THIS_FILE DATA --help\n"
        f"# Once it does something else, give it a `name` of its own.\n"
    )


def recipe_in(file: Path) -> type[Recipe]:
    """Import the recipe's class of a file, such as a copy.

    Args:
        file: A recipe's Python file. It is run: load only files that you trust.

    Raises:
        InputError: The file is no recipe, or it fails when it is imported.
    """
    class_name = read_card(file).class_name
    spec = util.spec_from_file_location(f"mlexpert_copy_{file.stem}", file)
    assert spec is not None and spec.loader is not None, "read_card takes only Python files"
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        moved = isinstance(error, ImportError) and (error.name or "").startswith("mlexpert.")
        advice = f" {COPY_AGAIN}" if moved else ""
        raise InputError(
            f"{file}: fails when it is imported ({type(error).__name__}: {error}).{advice}"
        ) from error
    return getattr(module, class_name)
