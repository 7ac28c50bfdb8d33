"""Reads what a recipe's file says of itself, without running it: no torch is imported."""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlexpert.errors import InputError

ORIGIN_LINE = "# Origin: "
"""Starts the first line of a copy; the header ends at the first line that is no comment."""
COPY_AGAIN = (
    "The file was copied from another version of mlexpert: copy the recipe again, and carry over "
    "what you changed."
)

_IDENTITY = {"name": "str", "version": "int"}
_HEADINGS = {
    "Paper": "paper",
    "Papers": "paper",
    "Differs from the paper": "differs",
    "Differs from the papers": "differs",
    "Results": "results",
}


@dataclass(frozen=True)
class Field:
    """A field of a recipe: what a user may set."""

    name: str
    type: str
    """The annotation as it is written."""
    default: Any
    """The value, where it is a literal; else the expression as it is written."""
    doc: str


@dataclass(frozen=True)
class Card:
    """What a recipe's file says of itself."""

    name: str
    version: int
    class_name: str
    claim: str
    """First sentence of the docstring."""
    about: str
    """What stands between the claim and the paper."""
    paper: str
    differs: str
    results: str
    fields: tuple[Field, ...]


def read_card(file: Path, class_name: str | None = None) -> Card:
    """Read the card of the recipe in `file`.

    Args:
        file: A recipe's Python file: one of the package, or a user's copy.
        class_name: The recipe's class; by default the one that sets `name` and `version`.

    Returns:
        The card; the fields of base classes come first, as the recipe redefines them.

    Raises:
        InputError: The file cannot be read as a recipe.
    """
    tree = _parse(file)
    recipe = _recipe_class(tree, file, class_name)
    constants = _class_constants(recipe)
    return Card(
        name=constants["name"],
        version=constants["version"],
        class_name=recipe.name,
        fields=tuple(_all_fields(tree, recipe).values()),
        **_sections(ast.get_docstring(tree) or ""),
    )


def without_header(source: str) -> str:
    """Return a recipe's source without the header that copying put above it."""
    if not source.startswith(ORIGIN_LINE):
        return source
    lines = source.splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[start:])


def file_of(recipe: type) -> Path:
    """Return the file that defines a recipe's class."""
    return Path(inspect.getfile(recipe)).resolve()


def source_hash(file: Path) -> str:
    """Return the SHA-256 of a recipe's source; a copy that nobody changed has its original's."""
    return hashlib.sha256(without_header(file.read_text(encoding="utf-8")).encode()).hexdigest()


def hash_of(recipe: type) -> str | None:
    """Return the hash of the file that defines a recipe's class; None in a notebook."""
    try:
        return source_hash(file_of(recipe))
    except (OSError, TypeError):
        return None


def _parse(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read ({error.strerror}); give the path of a recipe's file."
        ) from error
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{file}: is not Python that can be read ({error}).") from error


def _recipe_class(tree: ast.Module, file: Path, class_name: str | None) -> ast.ClassDef:
    """Return the class that sets a recipe's `name` and `version`."""
    found = [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and _IDENTITY.keys() <= {key for key, value in _class_constants(node).items() if value}
        and class_name in (None, node.name)
    ]
    if len(found) != 1:
        seen = ", ".join(node.name for node in found) or "none"
        wanted = " and ".join(f"{name}: ClassVar[{kind}]" for name, kind in _IDENTITY.items())
        raise InputError(f"{file}: a recipe's file has one class with {wanted}; found {seen}.")
    return found[0]


def _all_fields(tree: ast.Module, owner: ast.ClassDef) -> dict[str, Field]:
    """Return the fields of a class by name, those of its base classes first."""
    fields: dict[str, Field] = {}
    for base in owner.bases:
        home, node = _base_class(tree, ast.unparse(base))
        if node is not None:
            fields |= _all_fields(home, node)
    return fields | {field.name: field for field in _fields(owner)}


def _base_class(tree: ast.Module, name: str) -> tuple[ast.Module, ast.ClassDef | None]:
    """Find a base class in the same file, or in the module of this package that it comes from."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return tree, node
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            package, *path = (node.module or "").split(".")
            if package == __package__ and path:
                file = Path(__file__).parent.joinpath(*path).with_suffix(".py")
                if not file.exists():
                    raise InputError(f"There is no {node.module}, the home of {name}. {COPY_AGAIN}")
                return _base_class(_parse(file), name)
    return tree, None


def _is_class_variable(annotation: ast.expr) -> bool:
    return re.match(r"(\w+\.)*ClassVar\b", ast.unparse(annotation)) is not None


def _class_constants(recipe: ast.ClassDef) -> dict[str, Any]:
    return {
        node.target.id: _value(node.value)
        for node in recipe.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.value is not None
        and _is_class_variable(node.annotation)
    }


def _fields(recipe: ast.ClassDef) -> Iterator[Field]:
    for node, below in zip(recipe.body, [*recipe.body[1:], ast.Pass()], strict=True):
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        if _is_class_variable(node.annotation) or node.value is None:
            continue
        yield Field(
            node.target.id, ast.unparse(node.annotation), _value(node.value), _string(below)
        )


def _string(node: ast.stmt) -> str:
    """Return the text of a statement that is only a string: what documents the field above it."""
    if (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ):
        return re.sub(r"\s+", " ", node.value.value).strip()
    return ""


def _value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def _sections(docstring: str) -> dict[str, str]:
    """Split a card's docstring into its claim, what it is about, and the parts under a heading."""
    claim, _, rest = docstring.partition("\n\n")
    parts: dict[str, list[str]] = {"about": [], **{key: [] for key in _HEADINGS.values()}}
    current = "about"
    for line in rest.splitlines():
        heading, colon, text = line.partition(":")
        if colon and heading in _HEADINGS:
            current, line = _HEADINGS[heading], text
        parts[current].append(line.strip())
    return {
        "claim": " ".join(claim.split()),
        **{key: "\n".join(lines).strip() for key, lines in parts.items()},
    }
