"""A recipe's fields as flags of the command line, and the text of a flag as a field's value."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from mlexpert.errors import InputError
from mlexpert.recipe_card import Field

NONE = "none"


def parameters(fields: Iterable[Field], panel: str) -> list[inspect.Parameter]:
    """Return one flag for each field, for the signature of a command.

    Args:
        fields: The recipe's fields.
        panel: Heading under which the help lists them.
    """
    return [_parameter(field, panel) for field in fields]


def values(
    fields: Sequence[Field], given: Mapping[str, Any], settings: Iterable[str]
) -> dict[str, Any]:
    """Return the values of the fields that differ from their defaults.

    Args:
        fields: The recipe's fields.
        given: What the flags hold, by field: text, a bool, or None for a flag that was not given.
        settings: Further `field=value` texts, which win over the flags.

    Raises:
        InputError: A text that is not `field=value`, or a value that is not of the field's type.
            An unknown field is returned as it is: the catalogue refuses it with the nearest match.
    """
    by_name = {field.name: field for field in fields}
    found = {
        name: parse(by_name[name], text) if isinstance(text, str) else text
        for name, text in given.items()
        if text is not None and text != _shown(by_name[name].default)
    }
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise InputError(f"--set {setting!r}: write --set field=value.")
        found[name] = parse(by_name[name], text) if name in by_name else text
    return found


def parse(field: Field, text: str) -> Any:
    """Return the value that `text` means for a field.

    Args:
        field: The field; its annotation says which types it takes, and the first that fits is used.
        text: As it was typed. `none` means None; commas separate a tuple; a dict or list is JSON.

    Raises:
        InputError: The text fits none of the field's types.
    """
    for option in _options(ast.parse(field.type, mode="eval").body):
        try:
            return _as(option, text.strip())
        except ValueError:
            continue
    raise InputError(f"field {field.name!r} takes {field.type}; got {text!r}.")


def reason(text: str | None) -> str | None:
    """Return the reason of `--final-test`, or None where the flag was not given.

    Raises:
        InputError: It says nothing.
    """
    if text is not None and not text.strip():
        raise InputError("--final-test needs a reason, such as 'table 1'; the ledger keeps it.")
    return text


def _parameter(field: Field, panel: str) -> inspect.Parameter:
    flag = "--" + field.name.replace("_", "-")
    is_switch = field.type == "bool"
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if is_switch else flag,
        help=field.doc.replace("[", r"\["),
        metavar=None if is_switch else _metavar(field),
        show_default=field.default is not None,
        rich_help_panel=panel,
    )
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=field.default if is_switch else _shown(field.default),
        annotation=Annotated[bool if is_switch else str | None, option],
    )


def _metavar(field: Field) -> str:
    options = _options(ast.parse(field.type, mode="eval").body)
    texts = [
        "|".join(map(str, _choices(option))) if _is_literal(option) else ast.unparse(option)
        for option in options
        if not _is_none(option)
    ]
    return "|".join(texts)


def _shown(default: Any) -> str | bool | None:
    """Return a default as a user would type it."""
    if default is None or isinstance(default, bool):
        return default
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return json.dumps(default) if isinstance(default, dict | list) else str(default)


def _options(annotation: ast.expr) -> list[ast.expr]:
    """Return the types that an annotation joins by `|`; `str`, which any text fits, comes last."""
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        both = [*_options(annotation.left), *_options(annotation.right)]
        return sorted(both, key=lambda option: ast.unparse(option) == "str")
    return [annotation]


def _is_none(option: ast.expr) -> bool:
    return isinstance(option, ast.Constant) and option.value is None


def _is_literal(option: ast.expr) -> bool:
    return isinstance(option, ast.Subscript) and ast.unparse(option.value) == "Literal"


def _choices(option: ast.expr) -> tuple[Any, ...]:
    assert isinstance(option, ast.Subscript)
    choices = ast.literal_eval(option.slice)
    return choices if isinstance(choices, tuple) else (choices,)


def _as(option: ast.expr, text: str) -> Any:
    """Return `text` as one type of an annotation; ValueError where it is none."""
    kind = ast.unparse(option)
    if _is_none(option):
        return _pick({NONE: None}, text.lower())
    if _is_literal(option):
        return _pick({str(choice): choice for choice in _choices(option)}, text)
    if kind == "bool":
        return _pick({"true": True, "false": False}, text.lower())
    if kind in ("int", "float", "str"):
        return {"int": int, "float": float, "str": str}[kind](text)
    if isinstance(option, ast.Subscript) and ast.unparse(option.value) == "tuple":
        element = option.slice.elts[0] if isinstance(option.slice, ast.Tuple) else option.slice
        return tuple(_as(element, part.strip()) for part in text.split(",") if part.strip())
    if kind.split("[")[0] in ("dict", "list", "Mapping"):
        return json.loads(text)
    raise ValueError(kind)


def _pick(meanings: Mapping[str, Any], text: str) -> Any:
    if text not in meanings:
        raise ValueError(text)
    return meanings[text]
